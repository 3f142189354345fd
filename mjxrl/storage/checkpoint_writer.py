"""Writes checkpoints beside training: the loop waits only for the copy to host memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint import REPLAY, Tensors


class CheckpointWriter:
    """One write at a time, on a thread of its own; a write that fails is reported and leaves the one before it."""

    def __init__(self, run_dir: Path, keep: int, report: Callable[[str], None]) -> None:
        """Write into `run_dir`, keep the newest `keep` checkpoints and tell `report` what went wrong."""
        self._run_dir, self._keep, self._report = run_dir, keep, report
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, tensors: Tensors, info: Mapping[str, Any], kind: str = "step") -> bool:
        """Copy `tensors` to the host, which is complete on return, and start writing them; false if nothing is written.

        Where the disk has no room the replay is left out, and where even the rest does not fit nothing is written.
        """
        self.wait()
        needed = {file: sum(tensor.nbytes for tensor in content.values()) for file, content in tensors.items()}
        free = shutil.disk_usage(self._run_dir).free - 2**20
        if sum(needed.values()) > free:
            without = sum(needed.values()) - needed.get(REPLAY, 0)
            small = without <= free
            what = "the checkpoint goes without its replay" if small else "no checkpoint is written"
            self._report(f"disk: {sum(needed.values()):,} bytes needed, {free:,} free: {what} at step {step}")
            if not small:
                return False
            tensors = {file: content for file, content in tensors.items() if file != REPLAY}
        host = {file: {name: _copy(tensor) for name, tensor in content.items()} for file, content in tensors.items()}
        self._pending = self._thread.submit(self._write, step, host, info, kind)
        return True

    def wait(self) -> bool:
        """Wait for the write under way; if it failed, report it and return false."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                pending.result()
            except OSError as error:
                self._report(f"a checkpoint could not be written, the one before it stays: {error}")
                return False
        return True

    def _write(self, step: int, tensors: Tensors, info: Mapping[str, Any], kind: str) -> None:
        checkpoint.save(self._run_dir, step, tensors, info, kind)
        if kind == "best":
            checkpoint.prune_best(self._run_dir)
        else:
            checkpoint.prune(self._run_dir, step, self._keep)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
