"""Breaks training runs in every way that is known, resumes them, and says how that went.

    python -m tests.helpers.faults --kills 50 --flips 20 --out benchmarks/results/faults.json

Every run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mjxrl.errors import CheckpointError
from mjxrl.machine import settings
from mjxrl.storage import checkpoint
from tests.helpers.forked_runs import EVERY, Ended, Process, resume, resumed, start
from tests.helpers.small_runs import rows_of

PARTS = ("learner", "trainer", "env", "replay")


def newest(path: Path) -> tuple[int, list[str]]:
    """Transitions of the newest whole checkpoint (0: there is none), and what is wrong with newer ones."""
    problems = []
    for step in checkpoint.steps_saved(path):
        try:
            checkpoint.read(path, f"step_{step}", {})
        except CheckpointError as error:
            problems.append(str(error))
        else:
            return step, problems
    return 0, problems


def kills(folder: Path, count: int, algo: str, seed: int = 0) -> dict[str, Any]:
    """SIGKILL one run `count` times, resume it each time, and compare its end with that of a run left alone.

    Half of the kills come at a random time, the other half while a checkpoint is being written.
    """
    chance, path, outcomes = random.Random(seed), folder / "run", Counter[str]()
    far, most_lost = 10**9, 0
    settings = {"learner": {"normalize_obs": True}, "total_steps": far}
    step = 0
    for i in range(count):
        if step == 0 and path.exists():
            shutil.rmtree(path)  # killed before its first checkpoint: there is nothing to resume
            outcomes["killed before the first checkpoint, started afresh"] += 1
        process = resume(path, far) if path.exists() else start(path, algo, **settings)
        ends = time.monotonic() + chance.uniform(0.0, 3.0)
        if i % 2:
            ends = time.monotonic() + 60
            while not any(path.glob("checkpoints/.*.tmp/*")) and time.monotonic() < ends and process.running():
                time.sleep(0.0002)
            ends = time.monotonic() + chance.uniform(0.0, 0.004)
        time.sleep(max(0.0, ends - time.monotonic()))
        process.kill()
        ended = process.wait()
        assert ended.status == -signal.SIGKILL, ended
        outcomes["inside a checkpoint write" if any(path.glob("checkpoints/.*.tmp")) else "elsewhere"] += 1
        before = step
        step, problems = newest(path)
        assert not problems and step >= before, (problems, before, step)
        if step:
            most_lost = max(most_lost, int(rows_of(path)[-1]["step"]) - step if rows_of(path) else 0)
    total = step + 10 * EVERY
    if not step:
        shutil.rmtree(path, ignore_errors=True)
    process = resume(path, total) if step else start(path, algo, **settings | {"total_steps": total})
    ended = process.wait()
    assert ended.status == 0, ended
    alone = folder / "alone"
    process = start(alone, algo, **settings | {"total_steps": total, "checkpoint": {"every": 0}})
    assert process.wait().status == 0
    for part in PARTS:
        first, second = (checkpoint.load(run, "latest", part, {}) for run in (path, alone))
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first), part
    assert rows_of(path) == rows_of(alone)
    return {"kills": count, **outcomes, "transitions": total, "most transitions lost": most_lost, "bit for bit": True}


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "truncated": lambda data, chance: data[: chance.randrange(1, len(data))],
    "emptied": lambda data, chance: b"",
    "removed": lambda data, chance: None,
    "a pickle in its place": lambda data, chance: pickle.dumps({"weights": [1.0]}),
    "a bit flipped": lambda data, chance: _flipped(data, chance.randrange(8 * len(data))),
}


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damage(file: Path, how: str, chance: random.Random) -> None:
    """Break one file in place."""
    content = DAMAGES[how](file.read_bytes(), chance)
    file.unlink()
    if content is not None:
        file.write_bytes(content)


def damages(folder: Path, flips: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Break each file of a run in each way, resume, and count the outcomes by file and damage."""
    chance, whole = random.Random(seed), folder / "whole"
    assert start(whole, "sac", total_steps=4 * EVERY, checkpoint={"every": 2 * EVERY}).wait().status == 0
    folder_of = f"checkpoints/step_{4 * EVERY}"
    files = [f"{folder_of}/{part}.safetensors" for part in PARTS] + [f"{folder_of}/manifest.json"]
    found: dict[str, dict[str, int]] = {}
    for name in [*files, "config.json", "metrics.csv"]:
        for how in DAMAGES:
            outcomes = Counter[str]()
            for _ in range(flips if how == "a bit flipped" else 1):
                run = folder / "damaged"
                shutil.rmtree(run, ignore_errors=True)
                shutil.copytree(whole, run)
                damage(run / name, how, chance)
                ended = resume(run, 5 * EVERY).wait()
                outcomes[_outcome(ended, name)] += 1
            found[f"{Path(name).name}: {how}"] = dict(outcomes)
    return found


def _outcome(ended: Ended, name: str) -> str:
    assert "Traceback" not in ended.said, (name, ended)
    if ended.status == 2:
        assert len([line for line in ended.said.splitlines() if line.startswith("error: ")]) == 1, ended
        return "refused in one line"
    assert ended.status == 0, (name, ended)
    if f"resumed at {2 * EVERY} steps" in ended.said:
        assert "is damaged" in ended.said or "was altered" in ended.said or "has format" in ended.said, ended
        return "named, the checkpoint before it used"
    assert f"resumed at {4 * EVERY} steps" in ended.said, (name, ended)
    return (
        "resumed, the replay refills first" if "it refills first" in ended.said else "no harm, resumed from the newest"
    )


def disk_full(folder: Path, seed: int = 0) -> dict[str, Any] | None:
    """Fill a small disk while a run writes to it, with and without the look at the free room; None without root."""
    chance, outcomes = random.Random(seed), Counter[str]()
    for checked in (True, False):
        for _ in range(10):
            with small_disk(folder / "disk", 2_000) as disk:
                if disk is None:
                    return None
                path = disk / "run"

                def work(path: Path = path, checked: bool = checked) -> int:
                    if not checked:  # as if the room went between the look and the write
                        usage = shutil.disk_usage("/")
                        shutil.disk_usage = lambda _: usage._replace(free=10**15)  # type: ignore[assignment]
                    return resumed(path, 12 * EVERY)

                assert start(path, total_steps=2 * EVERY).wait().status == 0
                free = shutil.disk_usage(disk).free
                (disk / "filler").write_bytes(bytes(max(0, free - chance.randrange(4_096, 100_000))))
                ended = Process(folder / "disk.log", work).wait()
                assert ended.status in (0, 1) and "Traceback" not in ended.said, ended
                outcomes[
                    ("the check saw it, " if checked else "unseen, ENOSPC in the middle of a write, ")
                    + ("training went on" if ended.status == 0 else "the run ended with one line")
                ] += 1
                step, problems = newest(path)
                assert step >= 2 * EVERY and not problems, (step, problems)
                (disk / "filler").unlink()
                ended = resume(path, 13 * EVERY).wait()
                assert ended.status == 0 and f"resumed at {step:,} steps" in ended.said, ended
                outcomes["resumed from a whole checkpoint once there was room"] += 1
    return dict(outcomes)


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path | None]:
    """A file system of its own with room for `kib` KiB, or None where this process may not mount one."""
    folder.mkdir(exist_ok=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def two_processes(folder: Path) -> dict[str, int]:
    """Resume a run that is running."""
    path = folder / "twice"
    first = start(path, total_steps=10**9)
    while not checkpoint.steps_saved(path):
        time.sleep(0.01)
    second = Process(folder / "second.log", lambda: resumed(path, 10**9)).wait()
    assert second.status == 2 and "no other process" in second.said and second.said.count("\n") == 1, second
    assert first.running()
    first.kill()
    first.wait()
    step, problems = newest(path)
    assert step and not problems
    assert resume(path, step + EVERY).wait().status == 0
    return {"second process refused in one line": 1, "first resumed afterwards": 1}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--flips", type=int, default=20, help="single bits flipped in each file; 0: no file is broken")
    options.add_argument("--algo", default="td3")
    options.add_argument("--no-disk", action="store_true")
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    torch.set_num_threads(1)
    settings.set_up("cpu", "native")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        parts: dict[str, Callable[[], Any]] = {
            "SIGKILL": lambda: kills(path, given.kills, given.algo),
            "damaged files": lambda: damages(path, given.flips),
            "disk full": lambda: disk_full(path),
            "two processes": lambda: two_processes(path),
        }
        skipped = {"SIGKILL": not given.kills, "damaged files": not given.flips, "disk full": given.no_disk}
        found = {}
        for name, part in parts.items():
            if not skipped.get(name):
                found[name] = part()
                given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(given.out.read_text())


if __name__ == "__main__":
    main()
