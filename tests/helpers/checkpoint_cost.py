"""What a checkpoint of a full replay costs a run: memory, and the longest the loop stands still.

    python -m tests.helpers.checkpoint_cost --mib 2048

Ant's sizes, 4096 worlds. A loop appends 20 rows a second, before, during and after the write.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mjxrl.measurement.setting import fill
from mjxrl.replay import Replay, replay_bytes
from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from mjxrl.worlds.worlds import StepResult

WORLDS, OBS, ACTION, LIMIT = 4096, 105, 8, 1000


def resident() -> int:
    """Bytes of this process's own memory that are in RAM; pages of files, which the system may drop, do not count."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def watch(step: Callable[[], None], until: Callable[[], bool]) -> tuple[float, int]:
    """Call `step` 20 times a second; returns the longest it took, in seconds, and the most memory seen."""
    longest, most = 0.0, 0
    while not until():
        begin = time.perf_counter()
        step()
        longest = max(longest, time.perf_counter() - begin)
        most = max(most, resident())
        time.sleep(0.05)
    return longest, most


def measure(mib: int, folder: Path) -> dict[str, float]:
    row = replay_bytes(WORLDS, OBS, ACTION, capacity=2000 * WORLDS, time_limit=LIMIT) / 2001
    replay = Replay(WORLDS, OBS, ACTION, capacity=int(mib * 2**20 / row) * WORLDS, time_limit=LIMIT, device="cpu")
    fill(replay)
    obs, action, no = torch.rand(WORLDS, OBS), torch.rand(WORLDS, ACTION), torch.zeros(WORLDS, dtype=torch.bool)
    result = StepResult(obs, obs[:, 0].clone(), no, no, obs)

    def step() -> None:
        replay.append(action, result)

    quiet_ends = time.perf_counter() + 1
    quiet, before = watch(step, lambda: time.perf_counter() > quiet_ends)
    writer, begin = CheckpointWriter(folder, 2, print), time.perf_counter()
    writer.save(1, {"learner": {"weights": torch.zeros(10**6)}}, {}, replay=replay.snapshot())
    starting = time.perf_counter() - begin
    longest, most = watch(step, lambda: checkpoint.steps_saved(folder) != [])
    seconds = time.perf_counter() - begin
    assert writer.wait()
    size = replay.nbytes
    after, begin = resident(), time.perf_counter()
    fresh = Replay(WORLDS, OBS, ACTION, capacity=int(mib * 2**20 / row) * WORLDS, time_limit=LIMIT, device="cpu")
    fresh.load_state_dict(checkpoint.load(folder, "latest", "replay", {}))
    return {
        "replay_bytes": size,
        "write_seconds": seconds,
        "start_seconds": starting,
        "longest_step_before": quiet,
        "longest_step_during": longest,
        "extra_memory": (most - before) / size,
        "read_seconds": time.perf_counter() - begin,
        "extra_memory_of_reading": (resident() - after - size) / size,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mib", type=int, default=2048, help="size of the replay")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(given.mib, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
