"""Writes checkpoints beside training: the loop waits only while the small parts are copied to the host."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint import REPLAY, Tensors
from mjxrl.storage.snapshot import Snapshot


class CheckpointWriter:
    """One write after the other, each on a thread of its own; one that fails is reported and leaves the one before it.

    A thread ends with its write: while it lives OpenMP counts the threads that torch's operators started in it, finds
    more than there are cores, and no longer lets the learner's wait awake for each other. Updates take up to three
    times as long then.
    """

    def __init__(self, run_dir: Path, keep: int, report: Callable[[str], None], ranks: Ranks = ALONE) -> None:
        """Write into `run_dir`, keep the newest `keep` checkpoints and tell `report` what went wrong. All `ranks` write
        their parts of them; the best are the first one's alone."""
        self._run_dir, self._keep, self._report, self._ranks = run_dir, keep, report, ranks
        self._pending: deque[Future[None]] = deque()

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        info: Mapping[str, Any],
        kind: str = "step",
        replay: Snapshot | None = None,
    ) -> bool:
        """Copy `tensors` to the host, which is complete on return, and have them written, and `replay` after them,
        which is closed then; false if nothing is written.

        Where the disk has no room the replay is left out, and where even the rest does not fit nothing is written.
        """
        self._settle(leaving=1 if replay else 4)  # small writes may queue behind a large one, the loop goes on
        ranks = ALONE if kind == "best" else self._ranks
        own = sum(tensor.nbytes for content in tensors.values() for tensor in content.values())
        said = ranks.gathered([own, replay.nbytes if replay else 0, shutil.disk_usage(self._run_dir).free - 2**20])
        small, large, free = (put(each) for put, each in zip((sum, sum, min), zip(*said, strict=True), strict=True))
        if small + large > free:
            what = "the checkpoint goes without its replay" if small <= free else "no checkpoint is written"
            self._report(f"disk: {small + large:,} bytes needed, {free:,} free: {what} at step {step}")
            if replay:
                replay.close()
            if small > free:
                return False
            replay = None
        host = {file: {name: _copy(tensor) for name, tensor in content.items()} for file, content in tensors.items()}
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        before = list(self._pending)[-1:]
        self._pending.append(thread.submit(self._write, before, step, host, info, kind, replay, ranks))
        thread.shutdown(wait=False)
        return True

    def wait(self) -> bool:
        """Wait for all writes; report those that failed and return false if there are any, on any rank."""
        return not self._ranks.any(not self._settle(leaving=0))

    def _settle(self, leaving: int) -> bool:
        whole = True
        while len(self._pending) > leaving:
            try:
                self._pending.popleft().result()
            except OSError as error:
                self._report(f"a checkpoint could not be written, the one before it stays: {error}")
                whole = False
        return whole

    def _write(
        self,
        before: list[Future[None]],
        step: int,
        tensors: Tensors,
        info: Mapping[str, Any],
        kind: str,
        replay: Snapshot | None,
        ranks: Ranks,
    ) -> None:
        wait(before)
        with closing(replay) if replay else nullcontext():
            content = {**tensors, REPLAY: replay.tensors} if replay else tensors
            checkpoint.save(self._run_dir, step, content, info, kind, ranks)
        if kind == "best":
            checkpoint.prune_best(self._run_dir)
        elif ranks.leads:
            checkpoint.prune(self._run_dir, step, self._keep)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
