from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mjxrl.cli.evaluate import parse_options
from mjxrl.cli.flags import flags_of, last_value, read
from mjxrl.cli.parse import parse_config
from mjxrl.config import Config
from mjxrl.config.presets import default_config
from mjxrl.envs import task_class
from mjxrl.machine import devices, versions
from mjxrl.storage import run_dir

ROOT = Path(__file__).resolve().parents[2]
ON_CPU = ["--device", "cpu"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])  # looking for a task puts the working folder on it
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusals(
    argv: list[str], capsys: pytest.CaptureFixture[str], parse: Callable[[list[str]], object] = parse_config
) -> list[str]:
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(SystemExit) as stop:
        parse(argv)
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert sorted(Path.cwd().rglob("*")) == before
    lines = said.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


class TestConfig:
    def test_with_no_words_it_is_the_preset_with_the_default_task(self) -> None:
        config = parse_config(ON_CPU)
        assert type(config) is Config
        assert type(config.task).__name__ == "Ant"
        assert config.learner == default_config("Ant-v5", "sac", device="cpu").learner

    def test_selectors_choose_the_defaults_and_words_override_them(self) -> None:
        argv = [*ON_CPU, "--env", "HalfCheetah-v5", "--algo=td3", "--num_envs", "16", "--learner.gamma", "0.9"]
        config = parse_config([*argv, "--task.ctrl_cost_weight", "0.3", "--learner.normalize-obs"])
        assert (config.env, config.algo, config.num_envs) == ("HalfCheetah-v5", "td3", 16)
        assert (config.learner.updates_per_step, config.learner.policy_delay) == (16, 3)
        assert (config.learner.gamma, config.learner.normalize_obs) == (0.9, True)
        assert (config.task.ctrl_cost_weight, config.task.forward_reward_weight) == (0.3, 1.0)
        assert parse_config([*argv, "--task.max-episode-steps", "7"]).task.max_episode_steps == 7

    def test_the_preset_is_read_before_the_defaults(self) -> None:
        config = parse_config([*ON_CPU, "--learner.tau", "0.1", "--preset", "laptop"])
        assert (config.preset, config.num_envs, config.learner.critic_hidden) == ("laptop", 64, (128, 128))
        assert config.learner.tau == 0.1
        for words in ([], ["--preset", "auto"]):
            assert parse_config([*ON_CPU, *words]).preset == "laptop"

    def test_the_runs_length_is_read_before_the_defaults_and_a_flag_wins(self) -> None:
        argv = [*ON_CPU, "--env", "Pusher-v5", "--learner.warmup-steps", "3000", "--total-steps", "5000"]
        config = parse_config(argv)
        assert (config.total_steps, config.log.every, config.learner.warmup_steps) == (5000, 250, 3000)
        config = parse_config([*ON_CPU, "--env", "Pusher-v5", "--max-minutes", "2", "--log.every", "7"])
        assert (config.max_minutes, config.eval.every, config.log.every) == (2.0, 4000, 7)
        assert config.learner.warmup_steps == 1_000  # ten of its episodes

    def test_every_kind_of_value(self, tmp_path: Path) -> None:
        words = "--max-minutes 2.5 --sac.target-entropy -4 --learner.actor-hidden 64 32 --task.healthy-z-range 0.3 0.9"
        words += " --task.main-body torso --task.no-terminate-when-unhealthy --learner.critic-lr 1e-3 --run-dir new/run"
        config = parse_config([*ON_CPU, *words.split()])
        assert (config.max_minutes, config.sac.target_entropy, config.learner.actor_hidden) == (2.5, -4.0, (64, 32))
        assert (config.task.healthy_z_range, config.task.main_body) == ((0.3, 0.9), "torso")
        assert not config.task.terminate_when_unhealthy
        assert config.learner.critic_lr == 1e-3
        assert config.run_dir == Path("new/run")
        assert parse_config([*ON_CPU, "--max-minutes", "None"]).max_minutes is None

    def test_the_last_of_two_wins(self) -> None:
        config = parse_config([*ON_CPU, "--env", "Ant-v5", "--seed", "1", "--env=HalfCheetah-v5", "--seed", "2"])
        assert (config.env, type(config.task).__name__, config.seed) == ("HalfCheetah-v5", "HalfCheetah", 2)

    def test_a_task_of_ones_own(self, tmp_path: Path) -> None:
        (tmp_path / "my_walker.py").write_text(
            "from dataclasses import dataclass\nfrom mjxrl.envs.task import Task\n\n"
            "@dataclass(frozen=True)\nclass Walker(Task):\n    speed: float = 1.5\n"
        )
        config = parse_config([*ON_CPU, "--env", "my_walker:Walker", "--task.speed", "2"])
        assert (type(config.task).__name__, config.task.speed) == ("Walker", 2.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "start", "end"),
        [
            ("--env Antt-v5", "--env Antt-v5: ", ""),
            ("--algo ppo", "--algo ppo: allowed: ", "td3, sac"),
            ("--backend mujoco", "--backend mujoco: allowed: ", "auto, jax, warp, native, gymnasium"),
            ("--preset quick", "--preset quick: allowed: ", "auto, paper, laptop, fast, fast-2025"),
            ("--learner.critic c51", "--learner.critic c51: allowed: ", "scalar, categorical"),
            ("--device gpu", "--device gpu: allowed: ", "auto, cpu, cuda"),
            ("--num-envs 0", "--num-envs 0: allowed: ", "a whole number, at least 1"),
            ("--num_envs=-3", "--num-envs -3: allowed: ", "a whole number, at least 1"),
            ("--num-envs many", "--num-envs many: allowed: ", "a whole number, at least 1"),
            ("--num-envs 1.5", "--num-envs 1.5: allowed: ", "a whole number, at least 1"),
            ("--num-envs", "--num-envs (no value): allowed: ", "a whole number, at least 1"),
            ("--learner.gamma 1.5", "--learner.gamma 1.5: allowed: ", "a number from 0 to 1"),
            ("--learner.tau nan", "--learner.tau nan: allowed: ", "to 1"),
            ("--learner.actor-lr fast", "--learner.actor-lr fast: allowed: ", "to 1"),
            ("--learner.actor-hidden 64 x", "--learner.actor-hidden 64 x: allowed: ", "at least 1"),
            ("--learner.actor-hidden", "--learner.actor-hidden (no value): allowed: ", "at least 1"),
            ("--learner.normalize-obs=yes", "--learner.normalize-obs yes: allowed: ", "no value, the flag alone"),
            ("--learner.normalize-obs yes", "yes: not expected here", "--help"),
            ("--learner.batch-size 256 --replay.capacity 200", "--learner.batch-size 256: allowed: ", "200"),
            ("--task.healthy-z-range 1", "--task.healthy-z-range 1: allowed: ", "2 values, each a number"),
            ("--task.max-episode-steps 0", "--task.max-episode-steps 0: allowed: ", "a whole number, at least 1"),
            ("--task.frame-skip often", "--task.frame-skip often: allowed: ", "a whole number, at least 1"),
            ("--task.reset-noise-scale big", "--task.reset-noise-scale big: allowed: ", "a number"),
            ("--lerner.gamma 0.9", "--lerner.gamma 0.9: no such flag (did you mean --learner.gamma?)", "--help lists"),
            ("--seeed", "--seeed: no such flag (did you mean --seed?)", "--help lists"),
            ("-x", "-x: not expected here", "--help"),
            ("--init-from nowhere", "--init-from nowhere: allowed: ", "config.json"),
            ("--run-dir /proc/run", "--run-dir /proc/run: allowed: ", "a folder that can be written"),
        ],
    )
    def test_one_error_is_one_line(self, words: str, start: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
        [line] = refusals([*ON_CPU, *words.split()], capsys)
        assert line.startswith(start)
        assert line.endswith(end)

    def test_a_keyword_of_another_task_is_told_the_tasks_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = [*ON_CPU, "--env", "HalfCheetah-v5", "--task.healthy-z-range", "1", "2"]
        [line] = refusals(argv, capsys)
        assert line.startswith("--task.healthy-z-range 1 2: no such flag")
        assert "--task.ctrl-cost-weight" in line

    def test_all_errors_come_in_one_go(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = "--env Nope-v5 --task.speed 3 --algo ppo --num-envs x --learner.gamma 2 --sede 1 --device cpu lost"
        lines = refusals([*words.split()], capsys)
        assert [line.split()[0].rstrip(":") for line in lines] == [
            "--env", "--algo", "--num-envs", "--sede", "lost", "--learner.gamma",
        ]  # fmt: skip

    def test_an_existing_run_is_never_written_over(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.csv").touch()
        [line] = refusals([*ON_CPU, "--run-dir", "run"], capsys)
        assert line == "--run-dir run: allowed: a folder that is empty or does not exist yet"

    def test_cuda_without_a_gpu(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(devices, "cuda_problem", lambda: "no NVIDIA driver was found")
        [line] = refusals(["--device", "cuda"], capsys)
        assert line.startswith("--device cuda: allowed: auto, cpu on this machine")
        assert line.endswith("no NVIDIA driver was found")

    def test_wandb_without_its_package(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(versions, "installed", lambda *_: None)
        [line] = refusals([*ON_CPU, "--log.wandb", "walking"], capsys)
        assert line == "--log.wandb walking: allowed: with W&B's package: pip install 'mjxrl[wandb]'"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["--seed", "--num-envs", "--algo", "--learner.normalize-obs", "--learner.actor-hidden", "--x"]
            )
            | st.sampled_from(["3", "-1", "", "=", "x y", "sac", "--seed=", "--", "-", "None", "--algo=td3"]),
            max_size=6,
        )
    )
    def test_no_words_whatever_give_a_traceback(self, argv: list[str]) -> None:
        try:
            status = None if isinstance(parse_config([*argv, *ON_CPU]), Config) else 1
        except SystemExit as stop:
            status = stop.code
        assert status in (None, 2)


class TestFlags:
    def test_both_spellings_and_the_negative_of_a_switch(self) -> None:
        flags = flags_of(Config())
        assert flags["--learner.no-normalize-obs"][0] == flags["--learner.normalize-obs"][0] == "learner.normalize_obs"
        words = read(["--num_envs", "3", "loose", "--learner.no_normalize_obs"], flags)
        assert words == ({"num_envs": 3, "learner.normalize_obs": False}, ["loose"], [])

    def test_a_dash_starts_a_flag_unless_it_is_a_negative_number(self) -> None:
        words = read(["--lerner", "1", "-v", "--seed", "-1", "--run-dir", "-x"], flags_of(Config()))
        assert (words.values, words.loose) == ({"seed": -1}, ["-v", "-x"])
        assert [line.partition(":")[0] for line in words.problems] == ["--lerner 1", "--run-dir (no value)"]
        assert parse_config([*ON_CPU, "--run-dir=-x"]).run_dir == Path("-x")  # behind = any word is a value

    def test_last_value(self) -> None:
        assert last_value(["--a", "1", "--b", "--a=2"], "--a") == "2"
        assert last_value(["--a", "--b"], "--a") is None
        assert last_value(["--a", "-b"], "--a") is None and last_value(["--a", "-1"], "--a") == "-1"
        assert last_value(["--a"], "--b") is None
        assert last_value(["--num_envs", "5"], "--num-envs") == "5"


def a_run(path: Path) -> str:
    config = Config(task=task_class("Ant-v5")(), run_dir=path / "run")
    run_dir.note(run_dir.create(config), config, {})
    return str(path / "run")


class TestEvaluate:
    def test_the_run_may_stand_anywhere(self, tmp_path: Path) -> None:
        run = a_run(tmp_path)
        for argv in ([run, "--episodes", "3", "--json"], ["--json", run, "--episodes", "3"]):
            options = parse_options(argv)
            assert (options.run_dir, options.episodes, options.json) == (Path(run), 3, True)
        options = parse_options([run])
        assert (options.episodes, options.json, options.backend) == (10, False, "auto")

    def test_refusals(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        [line] = refusals([], capsys, parse_options)
        assert line.startswith("RUN_DIR: missing: allowed: ")
        lines = refusals(["nowhere", "--episodes", "0", "--backend", "warp9", "--seed", "-1"], capsys, parse_options)
        assert [line.partition(": ")[0] for line in lines] == [
            "--backend warp9", "RUN_DIR nowhere", "--episodes 0", "--seed -1",
        ]  # fmt: skip
        (tmp_path / "config.json").write_text("{}")
        [line] = refusals([str(tmp_path)], capsys, parse_options)
        assert line.endswith("is not a run's configuration")
        [line] = refusals([a_run(tmp_path), "another"], capsys, parse_options)
        assert line.startswith("another: not expected here")


def run(code: str, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


# runs a script as from a bare checkout: without the path, or the finder, of an installed mjxrl
BARE = f"""
import atexit, importlib.util, sys
sys.path = [{str(ROOT / "scripts")!r}] + [p for p in sys.path if p not in ("", {str(ROOT)!r})]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "") + str(f)]
assert importlib.util.find_spec("mjxrl") is None
heavy = lambda: [m for m in ("jax", "torch") if m in sys.modules]
atexit.register(lambda: print("LOADED", heavy(), "ENVS", importlib.util.find_spec("envs")))
script = {str(ROOT / "scripts")!r} + "/" + sys.argv.pop(1)
exec(compile(open(script).read(), script, "exec"))
"""


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_from_a_bare_checkout_loads_neither_jax_nor_torch(script: str, tmp_path: Path) -> None:
    done = run(BARE, tmp_path, script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "LOADED [] ENVS None"
    assert list(tmp_path.iterdir()) == []
    if script == "train.py":
        for word in ("--task.healthy-z-range", "--learner.updates-per-step", "Gradient updates per vectorized step"):
            assert word in done.stdout
    else:
        assert "--episodes" in done.stdout


def test_a_refusal_loads_neither_jax_nor_torch(tmp_path: Path) -> None:
    done = run(BARE, tmp_path, "train.py", "--num-envs", "0", *ON_CPU)
    assert done.returncode == 2
    assert done.stderr == "error: --num-envs 0: allowed: a whole number, at least 1\n"
    assert done.stdout.splitlines()[-1] == "LOADED [] ENVS None"
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_real_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    # Ant's on a CPU
    for algo, preset, delay, updates in (("td3", "laptop", 2, 2), ("td3", "paper", 2, 32), ("sac", "laptop", 4, 2)):
        chosen = ["--algo", algo, "--preset", preset, "--num-envs", "32", "--total-steps", "9000"]
        with pytest.raises(SystemExit) as stop:
            parse_config([*ON_CPU, *chosen, "--help"])
        assert not stop.value.code
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"(TD3's delayed policy updates). (default: {delay})" in shown
        assert f"Gradient updates per vectorized step (`--num-envs` transitions). (default: {updates})" in shown
        assert "uniformly random actions before the first update. (default: 900)" in shown
        assert "--algo {td3,sac}" in shown and "--physics.accuracy {exact,fast}" in shown


def test_what_a_code_page_of_windows_lacks_ends_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp932"))
    parse_config(["--env", "Pendulum-v1"])
    print("1 \u00b1 2 \u00b7 3", flush=True)
    assert shown.getvalue().decode("cp932") == "1 \u00b1 2 ? 3\n"
