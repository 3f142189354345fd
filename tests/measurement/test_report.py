"""Tiny runs of the whole tool: every field is there, and what is written can be read."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mjxrl.cli.benchmark import main, parse_options
from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.machine import devices
from mjxrl.measurement import end_to_end, learner, memory_use, physics, sampling, startup
from mjxrl.measurement.report import BY_DEFAULT, SECTIONS, FailedError, benchmark, scaling
from mjxrl.measurement.setting import Setting
from mjxrl.measurement.tables import show
from mjxrl.training import budget
from mjxrl.training.trainer import Trainer

TINY = "--env Hopper-v5 --device cpu --backend native --preset laptop --learner.no-compile --repeats 2 --seconds 0.001"


def setting(env: str, backend: devices.Backend = "native") -> Setting:
    row: dict[str, Any] = {
        "replay": {"capacity": 64},
        "learner": {"batch_size": 8, "actor_hidden": (8,), "threads": 1, "compile": False},
        "physics": {"threads": 1},
    }
    config = default_config(env, "td3", num_envs=2, backend=backend, device="cpu", preset="laptop")
    config = merged(merged(config, row), {"task": task_class(env)()})
    return Setting(config, config.machine(), repeats=2, seconds=0.001)


def refused(argv: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        parse_options(argv.split())
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["mjxrl-benchmark", *words])
    return main()


def test_the_curve_over_two_numbers_of_worlds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "curve.png"
    words = [*TINY.split(), "--num-envs", "2,4", "--sections", "scaling", "--json", str(out), "--plot", str(plot)]
    assert run(words, monkeypatch) == 0
    report = json.loads(out.read_text())
    assert report["argv"] == words and report["failures"] == []
    assert report["device"] == devices.device_name("cpu") and "torch" in report["versions"]
    assert [found["num_envs"] for found in report["worlds"]] == [2, 4]
    for found in report["worlds"]:
        assert found["threads"].keys() == {"physics", "learner"} and found["backend"] == "native"
        assert "--preset" in found["flags"] and found["config"]["env"] == "Hopper-v5"
        assert {"physics", "end_to_end"} <= found.keys()
    assert [row["num_envs"] for row in report["scaling"]] == [2, 4]
    columns = {"bare_env_steps_per_s", "vector_env_env_steps_per_s", "env_steps_per_s", "against_longer_half"}
    assert all(columns <= row.keys() for row in report["scaling"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "scaling" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "out.json"]


def test_what_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    words = f"{TINY} --num-envs 2 --replay.capacity {10**13} --sections memory --json {out}"
    assert run(words.split(), monkeypatch) == 1
    report = json.loads(out.read_text())
    assert [failure["what"] for failure in report["failures"]] == ["2 worlds: memory"] and report["worlds"] == []
    assert report["failures"][0]["why"].startswith("--replay.capacity ")


def test_sections_share_processes_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], list[str]]] = []

    def in_process(section: list[str], flags: list[str], *_: object) -> dict[str, Any]:
        asked.append((section, flags))
        if section == ["startup"]:
            return {"startup": {"ready_s": 1.0}}
        if section == ["memory"]:
            raise FailedError("no room")
        return {"num_envs": 2, "preset": "fast", "updates_per_step": 8, "batch_size": 16, "sampling": "flat"}

    monkeypatch.setattr("mjxrl.measurement.report.in_process", in_process)
    report = benchmark({2: ["a"], 4: ["b"]}, BY_DEFAULT, repeats=2, seconds=1.0, device="cpu", say=lambda line: None)
    together = ["end_to_end", "physics", "learner"]
    each = [(together, ["a"]), (["memory"], ["a"]), (together, ["b"]), (["memory"], ["b"])]
    assert asked == [(["startup"], ["a"])] * 4 + each + [(["sampling"], ["a"])]
    assert report["startup"]["cold"]["ready_s"]["repeats"] == [1.0, 1.0] and report["sampling"] == "flat"
    assert [f["what"] for f in report["failures"]] == ["2 worlds: memory", "4 worlds: memory"]
    assert len(report["scaling"]) == 2


def test_start_up() -> None:
    tiny = setting("Hopper-v5")
    found = startup.measure(tiny.config, time.time())
    assert found.keys() == {"imports_s", "build_s", "first_step_s", "first_update_s", "ready_s"}  # nothing compiles
    parts = sum(found.values()) - found["ready_s"]
    assert parts == pytest.approx(found["ready_s"])


def test_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "MATRIX", {"cpu": 16})
    monkeypatch.setattr(learner, "COPY", {"cpu": 1024})
    found = learner.measure(setting("Hopper-v5"))
    assert {"updates_per_s", "update_s", "flop_per_s", "share_of_matmul", "share_of_bandwidth"} <= found.keys()
    assert found["flop_per_s"]["median"] == pytest.approx(found["flop_per_update"] * found["updates_per_s"]["median"])
    assert found["matmul_dtype"] == "float32"


def test_end_to_end() -> None:
    tiny = setting("Hopper-v5")
    found = end_to_end.measure(tiny)
    both = {"physics_s", "learner_s", "in_turn_s", "side_by_side_s", "iteration_s", "processor_s"}
    against = {"against_longer_half", "against_sum", "against_better_of_both", "env_steps_per_s", "updates_per_s"}
    assert found.keys() == both | against
    assert all(len(value["repeats"]) == tiny.repeats for value in found.values())


def test_the_script_decides_how_often_the_trainer_goes_round() -> None:
    seen: list[int] = []

    def script(trainer: Trainer) -> Iterator[None]:
        assert trainer.session.replay.size == trainer.session.replay.capacity
        for _ in range(3):
            yield
            seen.append(trainer.session.updates)

    end_to_end.run_trainer(setting("Hopper-v5"), script)
    assert seen == [2, 4, 6]  # two updates per step of two worlds


def test_memory() -> None:
    found = memory_use.measure(setting("Hopper-v5"))
    assert found["bytes_per_transition"] == found["replay_bytes"] / found["replay_capacity"]
    assert found["two_copies_bytes_per_transition"] == 4 * (2 * 11 + 3 + 1) + 2
    assert found["peak_rss_bytes"] > 2**27  # torch alone takes more


@pytest.mark.parametrize("env", ["Hopper-v5", "Pendulum-v1"])
def test_physics_on_native(env: str) -> None:
    found = physics.measure(setting(env))
    assert all(len(found[name]["env_steps_per_s"]["repeats"]) == 2 for name in ("bare", "vector_env"))


def test_physics_on_jax() -> None:
    found = physics.measure(setting("Pendulum-v1", "jax"))
    assert found["vector_env_against_bare"]["median"] > 0


def test_bytes_of_a_batch() -> None:
    tiny = setting("Hopper-v5")
    moved = learner.bytes_sampled(tiny, tiny.replay(), torch.Generator().manual_seed(0))
    numbers, flags, count = 4 * (11 + 3 + 1 + 1 + 11), 1 + 1, 8
    # obs, action, reward, discount, next_obs; terminated, invalid; how many are counted in each update's batch
    assert moved == 2 * (8 * (numbers + flags) + count)


def test_sampling_says_what_it_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = setting("Hopper-v5")
    free = budget.replay_size(tiny.config, 1000) * 2.0
    monkeypatch.setattr(budget, "free_bytes", lambda place: free)
    found = sampling.measure(tiny, capacities=(100, 1000, 10_000))
    assert list(found["sample_s"]) == ["100", "1000"] and list(found["skipped"]) == ["10000"]
    assert "are free" in found["skipped"]["10000"] and "largest_against_smallest" in found


def test_a_row_without_training_has_no_training_in_the_curve() -> None:
    about = {"num_envs": 2, "preset": "fast", "updates_per_step": 8, "batch_size": 16}
    assert scaling([about]) == [about]


def test_the_tables_take_a_report_with_little_in_it() -> None:
    console = Console(file=io.StringIO(), width=100)
    failure = {"what": "start-up", "why": "no room"}
    show({"device": "a chip", "cores": 1, "versions": {}, "repeats": 1, "worlds": [], "failures": [failure]}, console)
    assert "not measured: start-up: no room" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_vector_env_keeps_much_of_the_bare_loops_speed() -> None:
    """A gate against an accident, far below what is measured (docs/speed.md): a ratio of loops that take turns."""
    cheetah = setting("HalfCheetah-v5")
    many = dataclasses.replace(cheetah, config=merged(cheetah.config, {"num_envs": 64}), repeats=5, seconds=0.2)
    assert physics.measure(many)["vector_env_against_bare"]["median"] > 0.4


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--num-envs 64,0", "error: --num-envs 64,0: allowed: different whole numbers, each at least 1"),
        ("--num-envs 64,64", "error: --num-envs 64,64: allowed: different whole numbers"),
        ("--sections physics,gpu", f"error: --sections physics,gpu: allowed: some of {','.join(SECTIONS)}"),
        ("--ranks 1", "error: --ranks 1: allowed: a whole number, at least 2"),
        ("--sections ranks --num-envs 9", "error: --num-envs 9: allowed: a multiple of the 2 processes"),
        ("--repeats 0", "error: --repeats 0: allowed: a whole number, at least 1"),
        ("--seconds -1", "error: --seconds -1.0: allowed: a finite number, above 0"),
        ("--json no/such/folder.json", "error: --json no/such/folder.json: allowed: a file in a folder that exists"),
        ("--plot curve.txt", "error: --plot curve.txt: allowed: a name that ends in .png, .svg or .pdf"),
        ("--plot a.png --sections physics", "error: --plot a.png: allowed: only with scaling among --sections"),
        ("--env Nope-v5", "error: --env Nope-v5: no such task"),
        ("--algo ppo", "error: --algo ppo: allowed: td3, sac"),
        ("--resume runs/x", "error: --resume: not here: allowed: the other flags of mjxrl-train"),
        ("--lerner.gamma 1", "error: --lerner.gamma 1: no such flag"),
        ("lost", "error: lost: not expected here"),
    ],
)
def test_bad_flags_get_one_line_and_leave_nothing(
    words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = refused(f"--device cpu {words}", capsys)
    assert len(lines) == 1 and lines[0].startswith(line), lines
    assert list(tmp_path.iterdir()) == []


def test_several_wrong_flags_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused("--repeats 0 --seconds nan --sections x", capsys)) == 3


def test_flags_of_training_reach_every_number_of_worlds() -> None:
    plan = parse_options(
        ["--device", "cpu", "--env", "Hopper-v5", "--num-envs", "2,8", "--algo", "td3", "--repeats", "3"]
    )
    assert plan.sections == list(BY_DEFAULT) and plan.options.repeats == 3
    rest = ["--device", "cpu", "--env", "Hopper-v5", "--algo", "td3"]
    assert plan.flags == {2: [*rest, "--num-envs", "2"], 8: [*rest, "--num-envs", "8"]}


def test_the_number_of_worlds_is_that_of_training() -> None:
    assert list(parse_options(["--device", "cpu", "--preset", "laptop"]).flags) == [64]
