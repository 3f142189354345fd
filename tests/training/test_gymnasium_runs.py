"""`--env gymnasium:ID` from the command line to the score: trained, resumed, stopped, exported, refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mjxrl.adapters.chosen import sizes
from mjxrl.cli.parse import parse_config
from mjxrl.config import Config
from mjxrl.envs import env_class
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.errors import RunError, TaskError
from mjxrl.policy.evaluation import evaluate_run
from mjxrl.policy.export import export_run
from mjxrl.policy.policy import load_policy
from mjxrl.storage.run_dir import load_config
from mjxrl.training import budget
from mjxrl.training.launch import train as launch
from tests.helpers.processes import gone
from tests.helpers.small_runs import rows_of, small, train

COUNTING = "gymnasium:tests.helpers.gym_envs:Counting-v0"
ROOT = Path(__file__).parents[2]


def config_of(env: str = COUNTING, vector: str = "sync", **changes: Any) -> Config:
    task = env_class(env)(vector=vector)  # type: ignore[call-arg]
    return small("td3", env=env, backend="gymnasium", task=task, **changes)


def test_a_run_is_trained_resumed_scored_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(config_of(run_dir=tmp_path / "run", total_steps=320, checkpoint={"every": 160}))
    said = capsys.readouterr().out
    assert "these worlds cannot be saved" in said and "mean return in Gymnasium over 1 episodes" in said
    assert rows_of(path)[-1]["train/diverged"] == "0.0" and "train/overflows" not in rows_of(path)[-1]
    assert rows_of(path)[-1]["eval/return"] == "36.0"  # each world's second episode: 11, 12 and 13
    assert json.loads((path / "final.json").read_text())["trained"]["where"] == "gymnasium"
    config = load_config(path)
    assert isinstance(config.task, GymnasiumEnv) and config.task.vector == "sync" and not (path / "model.mjb").exists()
    train(dataclasses.replace(config, resume=path, total_steps=480))
    assert "resumed at 320 steps" in capsys.readouterr().out and rows_of(path)[-1]["step"] == "480"
    assert evaluate_run(path, episodes=2).lengths == [2, 3]  # the second and third of one environment
    with pytest.raises(RunError, match=r"--backend native: allowed: gymnasium for gymnasium:tests"):
        evaluate_run(path, backend="native")
    info = load_policy(export_run(path)[0]).info
    assert (info.env, info.control_low, info.control_high) == (COUNTING, (0.0, -3.0), (2.0, 5.0))


def test_two_runs_of_one_seed_are_the_same(tmp_path: Path) -> None:
    """In processes of their own and one after the other, too."""
    changes: dict[str, Any] = {"total_steps": 160, "eval": {"final_episodes": 0, "every": 80}}
    vectors = ("sync", "async")
    paths = [
        train(config_of("gymnasium:Pendulum-v1", vector, run_dir=tmp_path / str(i), **changes))
        for i, vector in enumerate(vectors)
    ]
    first, *others = map(rows_of, paths)
    assert all(rows == first for rows in others)


def test_ctrl_c_ends_a_run_in_good_order_and_every_process(tmp_path: Path) -> None:
    flags = "--env gymnasium:Pendulum-v1 --preset paper --num-envs 2 --learner.warmup-steps 1000 --log.every 20"
    words = [*flags.split(), "--learner.threads", "1", "--eval.every", "0", "--run-dir", str(tmp_path / "run")]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while "steps" not in (line := process.stdout.readline()) or "env-steps/s" not in line:
        assert line, process.communicate()
    group = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _group_of(pid) == process.pid]
    assert len(group) == 1 + 2 + 8  # the trainer, its worlds, and those of its evaluations
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped by SIGINT" in errors and "Traceback" not in said + errors
    assert gone(group)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def test_a_bug_of_the_environment_keeps_its_traceback_and_leaves_no_folder(tmp_path: Path) -> None:
    config = config_of("gymnasium:tests.helpers.gym_envs:Broken-raises-v0", "async", run_dir=tmp_path / "run")
    with pytest.raises(ZeroDivisionError, match="a bug of the environment"):
        launch(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--env gymnasium:Nope-v0", "error: --env gymnasium:Nope-v0: Environment `Nope` doesn't exist"),
        ("--env gymnasium:no_such:Nope-v0", "error: --env gymnasium:no_such:Nope-v0: no module named 'no_such'"),
        ("--env gymnasium:Pendulum-v1 --backend native", "--backend native: allowed: gymnasium with --env gymnasium:P"),
        ("--env Ant-v5 --backend gymnasium", "--backend gymnasium: allowed: auto, jax, warp, native with --env Ant-v5"),
        ("--env gymnasium:Pendulum-v1 --task.vector x", "--task.vector x: allowed: async, sync"),
        ("--env gymnasium:Pendulum-v1 --task.xml-file a", "--task.xml-file a: no such flag"),
    ],
)
def test_flags_that_make_no_sense(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_config(words.split())
    errors = capsys.readouterr().err
    assert stop.value.code == 2 and len(errors.splitlines()) == 1 and said in errors


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for name, why in (("Dictionary-v0", "its observations are of Dict"), ("Discrete-v0", "its actions are Discrete")):
        env = f"gymnasium:tests.helpers.gym_envs:{name}"
        with pytest.raises((RunError, TaskError), match=why) as refused:
            launch(config_of(env, run_dir=tmp_path / "run"))
        assert str(refused.value).startswith(f"--env {env}: ") and not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"--eval.film: allowed: without --env gymnasium:"):
        launch(config_of(run_dir=tmp_path / "run", eval={"film": True}))
    assert not (tmp_path / "run").exists()


def test_settings_of_a_task_are_the_same_whoever_steps_it() -> None:
    ours, theirs = (parse_config(["--env", env, "--device", "cpu"]) for env in ("Pendulum-v1", "gymnasium:Pendulum-v1"))
    assert theirs.backend == "gymnasium" and theirs.num_envs == ours.num_envs == 8
    assert theirs.learner == ours.learner and theirs.sac == ours.sac
    assert theirs.task.vector == "async" and sizes(theirs.task)[0] == 3


def test_memory_counts_processes_and_a_replay_that_may_be_cut_anywhere() -> None:
    few, many = (config_of("gymnasium:Pendulum-v1", "async", num_envs=n) for n in (2, 12))
    needs = [budget.physics_bytes(config, "gymnasium", "cpu") for config in (few, many)]
    assert needs[1] - needs[0] == pytest.approx(10 * budget.PROCESS)
    in_c = small("td3", env="Pendulum-v1", task=env_class("Pendulum-v1")())
    assert budget.replay_size(few, 1000) > 1.2 * budget.replay_size(in_c, 1000)
