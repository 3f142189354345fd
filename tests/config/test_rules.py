from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mjxrl.cli.flags import flags_of
from mjxrl.config import Config
from mjxrl.config.presets import merged
from mjxrl.config.rules import RULES, flag, validate, validate_paths

# checked elsewhere: tasks by `task_class`, paths by `validate_paths`
NO_RULE = {"resume", "env", "run_dir", "init_from", "task"}


def set_at(config: Config, path: str, value: Any) -> Config:
    row: Any = value
    for name in reversed(path.split(".")):
        row = {name: row}
    return merged(config, row)


def test_the_defaults_are_valid() -> None:
    assert validate(Config()) == []


def test_every_field_has_a_rule_or_a_type_that_says_all() -> None:
    types = dict(flags_of(Config()).values())
    said = {path for path, hint in types.items() if hint is bool or get_origin(hint) is Literal}
    assert set(RULES) == set(types) - NO_RULE - said


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("num_envs", [0, -1, 1.5, "64", None, True]),
        ("total_steps", [0, -5]),
        ("max_minutes", [0, -1.0, math.nan, math.inf]),
        ("seed", [-1, 2**31]),
        ("learner.batch_size", [0, -256]),
        ("learner.gamma", [-0.01, 1.01, math.nan]),
        ("learner.tau", [0, -0.1, 1.1]),
        ("learner.n_step", [0]),
        ("learner.policy_delay", [0]),
        ("learner.num_critics", [0]),
        ("learner.actor_hidden", [(), (0,), (256, -1), (1.5,)]),
        ("learner.actor_lr", [0, -1e-3, math.inf, 2]),
        ("td3.exploration_noise", [-0.1, math.inf]),
        ("sac.init_temperature", [0, -1]),
        ("sac.exploration_scale", [-0.1, math.inf]),
        ("sac.exploration_scale_max", [-0.1, math.nan]),
        ("sac.target_entropy", [math.nan, math.inf, -math.inf, "auto"]),
        ("eval.every", [-1]),
        ("log.every", [0]),
        ("log.wandb", ["", "a/b", "x" * 129]),
        ("checkpoint.every", [-1]),
        ("physics.threads", [-1]),
        ("replay.capacity", [0]),
    ],
)
def test_a_wrong_value_gives_one_line_with_flag_value_and_what_is_allowed(path: str, values: list[Any]) -> None:
    for value in values:
        [line] = validate(set_at(Config(), path, value))
        assert line.startswith(f"{flag(path)} ")
        assert line.endswith(f": allowed: {RULES[path].allowed}")
        assert "\n" not in line
        if isinstance(value, int | float | str) and value != "":
            assert f" {value}: " in line


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("num_envs", [1, 4096]),
        ("max_minutes", [None, 1, 0.5]),
        ("seed", [0, 2**31 - 1]),
        ("learner.gamma", [0, 0.97, 1, 1.0]),
        ("learner.tau", [1e-6, 1]),
        ("learner.warmup_steps", [0]),
        ("learner.critic_hidden", [(1,), (768, 384, 192)]),
        ("td3.target_noise", [0]),
        ("sac.target_entropy", [None, -4.0, 0, 3]),
        ("eval.final_episodes", [0]),
        ("checkpoint.every", [0]),
    ],
)
def test_edges_that_are_allowed(path: str, values: list[Any]) -> None:
    for value in values:
        assert validate(set_at(Config(), path, value)) == []


def test_a_batch_must_fit_the_replay() -> None:
    full = merged(Config(), {"replay": {"capacity": 1000}, "learner": {"batch_size": 1000}})
    assert validate(full) == []
    [line] = validate(merged(full, {"learner": {"batch_size": 1001}}))
    assert line == "--learner.batch-size 1001: allowed: at most --replay.capacity, 1000"


def test_an_n_step_window_must_fit_the_replay() -> None:
    config = merged(Config(), {"num_envs": 100, "learner": {"n_step": 3, "batch_size": 8}})
    assert validate(merged(config, {"replay": {"capacity": 400}})) == []
    [line] = validate(merged(config, {"replay": {"capacity": 399}}))
    assert line.startswith("--replay.capacity 399: allowed: at least 400")


def test_a_run_that_makes_no_update_is_refused() -> None:
    config = merged(Config(), {"num_envs": 8, "learner": {"warmup_steps": 1000, "batch_size": 256}})
    assert validate(merged(config, {"total_steps": 1001})) == []
    [line] = validate(merged(config, {"total_steps": 1000}))
    assert line == (
        "--total-steps 1000: allowed: more than 1000, which come before the first update (--num-envs 8, "
        "--learner.warmup-steps 1000, --learner.batch-size 256)"
    )
    short = merged(config, {"learner": {"warmup_steps": 0}})
    assert validate(merged(short, {"total_steps": 257})) == [] != validate(merged(short, {"total_steps": 256}))


def test_everything_is_reported_at_once() -> None:
    config = merged(Config(), {"seed": -1, "num_envs": 0, "learner": {"gamma": 2.0, "tau": 0.0}})
    flags = [line.split()[0] for line in validate(config)]
    assert flags == ["--num-envs", "--seed", "--learner.gamma", "--learner.tau"]


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "td3", (), (8,)]))


@given(values=st.dictionaries(st.sampled_from(sorted(RULES)), ANYTHING, max_size=6))
def test_whatever_the_values_each_wrong_flag_gets_one_line(values: dict[str, Any]) -> None:
    config = Config()
    for path, value in values.items():
        config = set_at(config, path, value)
    wrong = {flag(path) for path, value in values.items() if not RULES[path].holds(value)}
    lines = validate(config)
    assert all("\n" not in line for line in lines)
    assert wrong <= {line.split()[0] for line in lines}
    assert len(lines) - len(wrong) <= 1  # at most one more: on the replay


class TestPaths:
    def test_a_new_folder_an_empty_one_and_the_default_are_fine_and_nothing_is_created(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        for run_dir in (None, Path("new/deep"), tmp_path / "empty"):
            assert validate_paths(Config(run_dir=run_dir)) == []
        assert [p.name for p in tmp_path.iterdir()] == ["empty"]

    def test_a_folder_that_holds_something_and_a_file_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for taken in (tmp_path, tmp_path / "file"):
            [line] = validate_paths(Config(run_dir=taken))
            assert line == f"--run-dir {taken}: allowed: a folder that is empty or does not exist yet"

    def test_a_folder_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for impossible in (tmp_path / "file" / "run", Path("/proc/run")):
            [line] = validate_paths(Config(run_dir=impossible))
            assert line == f"--run-dir {impossible}: allowed: a folder that can be written"

    def test_a_source_of_weights_must_be_a_run(self, tmp_path: Path) -> None:
        [line] = validate_paths(Config(run_dir=tmp_path / "new", init_from=tmp_path / "none"))
        assert line.startswith(f"--init-from {tmp_path / 'none'}: allowed: ")
        (tmp_path / "config.json").touch()
        assert validate_paths(Config(run_dir=tmp_path / "new", init_from=tmp_path)) == []
