"""Whether processes have ended."""

from __future__ import annotations

import time


def gone(pids: list[int], seconds: float = 20) -> bool:
    """Whether all of them end within so many seconds."""
    end = time.monotonic() + seconds
    while pids and time.monotonic() < end:
        pids = [pid for pid in pids if state_of(pid) != "Z"]
        time.sleep(0.02)
    return not pids


def state_of(pid: int) -> str:
    """As /proc says it; Z is a process that has ended, as is one of which it knows nothing."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
