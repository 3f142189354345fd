"""Training runs as processes of their own, forked from one that has imported everything and computed nothing.

So a start costs a tenth of a second. Import this before anything computes: threads do not survive a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure  # noqa: F401 (imported here once, not by each process)
import torch.utils.tensorboard  # noqa: F401

import mjxrl.physics.native  # noqa: F401
from mjxrl.cli import train as command
from mjxrl.training.launch import train as launch
from tests.helpers.small_runs import small

EVERY = 80  # transitions between checkpoints: ten vector steps


class Ended(NamedTuple):
    """How a process ended: its exit status (minus the signal's number if one killed it) and all that it printed."""

    status: int
    said: str


class Process:
    """A forked process that runs `work` and exits with what it returns."""

    def __init__(self, log: Path, work: Callable[[], int]) -> None:
        self._log = log
        self.pid = os.fork()
        if self.pid == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: where a check fails, nothing stays behind
            status = 70  # of a traceback
            try:
                with log.open("w") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                    try:
                        status = work()
                    except SystemExit as stop:
                        status = int(stop.code or 0)
                    except BaseException:
                        traceback.print_exc()
                    sys.stdout.flush()
                    sys.stderr.flush()
            finally:
                os._exit(status)

    def running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Ended(status, self._log.read_text(errors="replace"))


def start(path: Path, algo: str = "td3", **changes: Any) -> Process:
    """A new run in `path`."""
    config = small(
        algo, **{"run_dir": path, "checkpoint": {"every": EVERY}, "eval": {"final_episodes": 0, "every": 320}} | changes
    )
    return Process(path.with_suffix(".log"), lambda: launch(config))


def resume(path: Path, total_steps: int) -> Process:
    """`mjxrl-train --resume path --total-steps n`."""
    return Process(path.with_suffix(".log"), lambda: resumed(path, total_steps))


def resumed(path: Path, total_steps: int) -> int:
    """The same in this process; returns the exit status."""
    sys.argv = ["mjxrl-train", "--resume", str(path), "--total-steps", str(total_steps)]
    return command.main()
