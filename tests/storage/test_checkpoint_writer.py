"""What is written beside the loop: consistent, in little memory, and never in the loop's way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl.replay import Replay
from mjxrl.storage import checkpoint, tensor_file
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from tests.helpers.histories import ACTION_SIZE, History, saved

LEARNER = {"learner": {"x": torch.zeros(3)}}
ROOT = Path(__file__).parents[2]


def a_replay(history: History, steps: int) -> Replay:
    replay = Replay(history.num_envs, 3, ACTION_SIZE, capacity=history.num_envs * 40, time_limit=6, device="cpu")
    replay.start(history.obs(0))
    for t in range(steps):
        history.append_to(replay, t)
    return replay


def test_the_loop_goes_on_while_a_checkpoint_of_before_is_written(tmp_path: Path) -> None:
    """A real thread, four thousand transitions, several checkpoints, of which each must be of its own moment."""
    history = History(8, 500, 6, seed=0)
    replay, writer, expected = a_replay(history, 50), CheckpointWriter(tmp_path, 10, print), {}
    for t in range(50, 500):
        if t % 75 == 0:
            expected[t] = saved(replay)
            assert writer.save(t, LEARNER, {}, replay=replay.snapshot())
        history.append_to(replay, t)
    assert writer.wait() and len(expected) == 6
    found = checkpoint.load(tmp_path, "latest", "replay", {})
    newest = expected[max(expected)]
    assert found.keys() == newest.keys() and all(torch.equal(found[name], newest[name]) for name in newest)


def test_no_thread_outlives_its_write(tmp_path: Path) -> None:
    """One that stays keeps OpenMP's count of threads above that of cores, and updates slow down for good."""
    writer = CheckpointWriter(tmp_path, 2, print)
    assert all(writer.save(step, LEARNER, {}) for step in (1, 2, 3)) and writer.wait()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]
    for thread in threads:
        thread.join(5)  # it may be on its last lines
    assert not any(thread.is_alive() for thread in threads)


def test_a_best_policy_queues_behind_a_large_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, going_on = tensor_file.write, threading.Event()

    def slow(path: Path, tensors: Any) -> str:
        assert path.parent.name != ".step_1.tmp" or going_on.wait(60)
        return write(path, tensors)

    monkeypatch.setattr(tensor_file, "write", slow)
    writer = CheckpointWriter(tmp_path, 2, print)
    assert writer.save(1, LEARNER, {}) and writer.save(1, LEARNER, {"return": 2.0}, kind="best")  # or it hangs here
    going_on.set()
    assert writer.wait()
    assert checkpoint.read_manifest(tmp_path, "latest", {})["step"] == 1
    assert checkpoint.read_manifest(tmp_path, "best", {})["return"] == 2


@pytest.mark.parametrize("how", ["fails", "has no room", "has room for the rest"])
def test_a_replay_that_is_not_written_is_not_held(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the loop would wait for a reader that never comes."""
    history = History(8, 200, 6, seed=0)
    replay, said = a_replay(history, 50), []
    writer = CheckpointWriter(tmp_path, 2, said.append)
    if how == "fails":

        def full(*_: Any) -> str:
            raise OSError("disk full")

        monkeypatch.setattr(tensor_file, "write", full)
    else:
        free = 2**20 + (100 if how == "has room for the rest" else 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=free))
    snapshot = replay.snapshot()
    assert writer.save(1, LEARNER, {}, replay=snapshot) == (how != "has no room")
    assert writer.wait() == (how != "fails")
    assert snapshot.closed and len(said) == 1
    for t in range(50, 200):
        history.append_to(replay, t)


def cost(mib: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.helpers.checkpoint_cost", "--mib", str(mib)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of /proc")
@pytest.mark.parametrize("mib", [pytest.param(200), pytest.param(2048, marks=pytest.mark.slow)])
def test_writing_and_reading_a_replay_take_little_memory(mib: int) -> None:
    """Beside a tenth of the replay there are some 12 MiB of pieces and of the small parts. How long the loop stands
    still is measured too, and in docs/faults.md: here nothing is said of time."""
    found = cost(mib)
    assert found["extra_memory"] * found["replay_bytes"] < 0.1 * found["replay_bytes"] + 12 * 2**20, found
    assert found["extra_memory_of_reading"] < 0.02, found
