"""A resumed run is the same run: bit for bit in parameters, replay, worlds and metrics."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from mjxrl.cli.parse import parse_config
from mjxrl.errors import CheckpointError
from mjxrl.policy.export import export_run
from mjxrl.storage import checkpoint
from mjxrl.storage.run_dir import load_config
from mjxrl.training.launch import make_worlds
from mjxrl.training.launch import train as launch
from mjxrl.training.session import Session
from tests.conftest import need_warp
from tests.helpers.learners import needs_compiler
from tests.helpers.small_runs import rows_of, small, train


def resumed(path: Path, **overrides: Any) -> Path:
    return train(dataclasses.replace(load_config(path), resume=path, **overrides))


def assert_same_checkpoint(a: Path, b: Path) -> None:
    for file in ("learner", "trainer", "env", "replay"):
        first, second = (checkpoint.load(path, "latest", file, {}) for path in (a, b))
        assert first.keys() == second.keys()
        different = [name for name in first if not torch.equal(first[name], second[name])]
        assert not different, (file, different)


@pytest.mark.parametrize(
    ("algo", "backend"),
    [
        *(("td3", "native"), ("sac", "native"), ("sac", "jax"), ("sac", "warp")),
        *(pytest.param("td3", backend, marks=pytest.mark.slow) for backend in ("jax", "warp")),
    ],
)
def test_n_steps_stop_and_n_more_equal_2n(algo: str, backend: str, tmp_path: Path) -> None:
    """Stopped between two log lines, so that half-filled sums must survive too."""
    if backend == "warp":
        need_warp()
    learner: dict[str, Any] = {"normalize_obs": True, "hold_noise": 4}
    if algo == "sac":
        learner |= {"scale_rewards": True, "critic": "categorical", "blocks": True}
    else:
        learner |= {
            "critic_norm": "batch",
            "actor_norm": "batch",
            "adam_beta1": 0.5,
            "policy_delay": 3,
            "policy_average": 0.1,
        }
    whole = train(small(algo, backend=backend, run_dir=tmp_path / "whole", learner=learner))
    parts = train(small(algo, backend=backend, run_dir=tmp_path / "parts", learner=learner, total_steps=344))
    resumed(parts, total_steps=640)
    assert_same_checkpoint(whole, parts)
    assert rows_of(whole) == rows_of(parts)
    assert load_config(parts).total_steps == 640


def test_a_run_that_started_from_weights_goes_on_from_its_own(tmp_path: Path) -> None:
    """And needs the folder of the weights no more."""
    start = train(small("td3", run_dir=tmp_path / "start", total_steps=160, seed=3))
    whole = train(small("td3", run_dir=tmp_path / "whole", init_from=start))
    parts = train(small("td3", run_dir=tmp_path / "parts", init_from=start, total_steps=344))
    start.rename(tmp_path / "elsewhere")
    resumed(parts, total_steps=640)
    assert_same_checkpoint(whole, parts)


@needs_compiler
def test_a_compiled_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    learner = {"compile": True}

    def as_in_a_new_process(run: Callable[[], Path]) -> Path:
        torch.compiler.reset()
        counters.clear()
        path = run()
        assert counters["stats"]["unique_graphs"] == 2
        return path

    whole = as_in_a_new_process(lambda: train(small("td3", run_dir=tmp_path / "whole", learner=learner)))
    first = small("td3", run_dir=tmp_path / "parts", learner=learner, total_steps=344)
    parts = as_in_a_new_process(lambda: train(first))
    as_in_a_new_process(lambda: resumed(parts, total_steps=640))
    assert_same_checkpoint(whole, parts)
    assert rows_of(whole) == rows_of(parts)


def test_another_kind_of_device_is_refused(tmp_path: Path) -> None:
    """Random numbers of a GPU cannot go on on a CPU; the state of a GPU's generator is 16 bytes."""
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=344))
    config = load_config(path)
    worlds, _ = make_worlds(config, config.machine())
    session = Session(worlds, config, path)
    state = checkpoint.load(path, "latest", "trainer", {})
    with pytest.raises(ValueError, match="another kind of device than cpu"):
        session.load_state_dict(state | {"generator": torch.zeros(16, dtype=torch.uint8)})


def test_rows_after_the_checkpoint_are_written_once(tmp_path: Path) -> None:
    """As after a kill: the metrics went on beyond the checkpoint that the run resumes from."""
    whole = train(small("td3", run_dir=tmp_path / "whole", checkpoint={"every": 320, "keep": 5}))
    killed = train(small("td3", run_dir=tmp_path / "killed", checkpoint={"every": 320, "keep": 5}))
    (killed / "checkpoints" / "step_640" / "learner.safetensors").write_bytes(b"cut short")
    # step 320 has lost its replay to the newer one: put it back, as it would be had the run died before 640
    again = train(small("td3", run_dir=tmp_path / "again", total_steps=320, eval={"every": 320, "final_episodes": 0}))
    for name in ("replay.safetensors", "manifest.json"):
        source, target = (p / "checkpoints" / "step_320" / name for p in (again, killed))
        target.write_bytes(source.read_bytes())
    resumed(killed)
    assert_same_checkpoint(whole, killed)
    assert rows_of(whole) == rows_of(killed)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train(small("sac", run_dir=tmp_path / "run", checkpoint={"every": 320}))
    file = path / "checkpoints" / "step_640" / "env.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    capsys.readouterr()
    resumed(path, total_steps=720)
    said = capsys.readouterr().out
    assert "step_640 is damaged: env.safetensors is truncated" in said
    assert "resumed at 320 steps" in said and "refills first" in said


def test_without_replay_learning_waits_until_it_has_refilled(tmp_path: Path) -> None:
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=320, checkpoint={"replay": False}))
    assert not (path / "checkpoints" / "step_320" / "replay.safetensors").exists()
    before = checkpoint.load(path, "latest", "learner", {})["updates"]
    resumed(path, total_steps=320 + 64)
    assert checkpoint.load(path, "latest", "learner", {})["updates"] == before
    resumed(path, total_steps=320 + 64 + 64 + 16)  # 64 to refill, then two vector steps of two updates
    assert checkpoint.load(path, "latest", "learner", {})["updates"] == before + 4


def test_a_copy_of_a_run_from_when_latest_was_a_link_goes_on_and_exports_the_newest(tmp_path: Path) -> None:
    """`cp -rL` makes a folder of the link, which stands still."""
    old, copy = train(small("td3", run_dir=tmp_path / "old", total_steps=80)), tmp_path / "copy"
    (old / "checkpoints" / "latest").symlink_to("step_80")
    shutil.copytree(old, copy)
    resumed(copy, total_steps=160)
    resumed(copy, total_steps=240)
    export_run(copy)
    assert checkpoint.steps_saved(copy) == [240, 160]
    assert json.loads((copy / "policy" / "policy.json").read_text())["step"] == 240


@pytest.mark.parametrize("ends", [{"total_steps": 320}, {"max_minutes": 1e-9}])
def test_a_run_that_ended_by_itself_leaves_no_replay_and_refills_it_if_it_goes_on(
    ends: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even where a checkpoint of that very step was due."""
    given = {"checkpoint": {"every": 160, "keep_replay": False}, "eval": {"final_episodes": 0}}
    path = train(small("td3", run_dir=tmp_path / "run", **(given | ends)))
    assert checkpoint.steps_saved(path) and not list(path.rglob("replay.safetensors"))
    capsys.readouterr()
    resumed(path, total_steps=480, max_minutes=None)
    said = capsys.readouterr().out
    assert ("it refills first" in said) == ("total_steps" in ends)  # of a run without a step there is nothing to refill
    assert checkpoint.steps_saved(path)[0] == 480 and not list(path.rglob("replay.safetensors"))


def test_nothing_to_resume(tmp_path: Path) -> None:
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=80))
    for file in (path / "checkpoints").glob("*/manifest.json"):
        file.write_text("{}")
    with pytest.raises(CheckpointError, match=r"--resume .* damaged"):
        launch(dataclasses.replace(load_config(path), resume=path))


def test_overrides_that_make_no_sense_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=80))
    good = parse_config(["--resume", str(path), "--total-steps", "160", "--max-minutes", "1"])
    assert (good.total_steps, good.max_minutes, good.learner) == (160, 1.0, small("td3").learner)
    with pytest.raises(SystemExit) as stop:
        parse_config(["--resume", str(path), "--env", "Ant-v5", "--learner.actor_hidden", "8", "--total-steps", "99"])
    errors = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(errors) == 2
    assert "--env: not with --resume" in errors[0] and "--learner.actor-hidden: not with --resume" in errors[1]
    with pytest.raises(SystemExit):
        parse_config(["--resume", str(tmp_path / "nowhere")])
    assert "nowhere" in capsys.readouterr().err


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    script = Path(__file__).parents[2] / "scripts" / "train.py"
    flags = (
        "--env HalfCheetah-v5 --algo td3 --num-envs 8 --total-steps 1000000 --log.every 800 --learner.warmup-steps 400"
    )
    flags += " --learner.actor-hidden 16 --learner.critic-hidden 16 --learner.threads 1 --checkpoint.every 2000"
    return subprocess.Popen(
        [sys.executable, str(script), *(words or (*flags.split(), "--run-dir", "run"))],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("JAX")},
    )


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_in_good_order(number: signal.Signals, status: int, tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(lambda: checkpoint.steps_saved(tmp_path / "run"), process)
    second = start(tmp_path, "--resume", "run")  # one process at a time
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2 and "no other process" in errors and len(errors.splitlines()) == 1
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert f"stopped by {number.name}" in errors and "--resume run" in errors and "Traceback" not in errors
    stopped_at = checkpoint.steps_saved(tmp_path / "run")[0]
    assert stopped_at >= 2000 and "replay" in checkpoint.read(tmp_path / "run", f"step_{stopped_at}", {}).files
    going_on = start(tmp_path, "--resume", "run", "--total-steps", str(stopped_at + 800))
    output, errors = going_on.communicate(timeout=120)
    assert going_on.returncode == 0, errors
    assert f"resumed at {stopped_at:,} steps" in output and "mean return in Gymnasium" in output
