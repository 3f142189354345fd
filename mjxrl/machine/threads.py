"""CPU cores, and how physics and learner share them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

from mjxrl.machine import torchrun


class Threads(NamedTuple):
    """CPU threads of each side."""

    physics: int
    learner: int


BY_RULE = Threads(0, 0)
SPINS = 10_000  # about 0.2 ms


def spin_briefly() -> None:
    """Let threads of torch's operators wait for each other for a moment only before they sleep; call it before torch
    loads, whose OpenMP (libgomp) reads it then. A setting of the user's own wins.

    By default they spin for some milliseconds. Beside another process, whoever waits so takes the core from the one it
    waits for: with two threads on two cores, a learner beside two endless loops made 0.16 of its updates/s, and makes
    0.37 to 0.39 so; alone it makes 0.98 to 1.01 of them (benchmarks/busy_machine.py).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def others_at_work(threads: int) -> str | None:
    """A line on what else the machine computes, if that is half a core or more; `threads` are the learner's."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none, a container may have none
        return None
    if load < 0.5:
        return None
    advice = "; --learner.threads 1 keeps most then" if threads > 1 else ""
    return f"other processes are at work: a load of {load:.1f} on {available_cores()} cores slows updates{advice}"


def available_cores() -> int:
    """CPU cores this process may use, counting affinity, a container's quota and the run's other processes here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        cores = max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return max(1, cores // torchrun.place().local_size)


def split_threads(cores: int, backend: str, device: str) -> Threads:
    """How many CPU threads step the worlds and how many learn, by rule.

    The two overlap. On a CPU the updates take nearly all the time, so they keep the larger share, and all cores of a
    small machine; a learner on the GPU only needs a thread that launches its kernels. Beyond 16 threads the matmuls
    of small networks get no faster.
    """
    if device == "cuda":
        return Threads(physics=max(1, cores - 1), learner=1)
    if backend == "jax":  # XLA's own pool takes every core anyway
        return Threads(physics=cores, learner=max(1, cores // 2))
    physics = max(1, cores // 4)
    return Threads(physics, learner=min(16, cores if cores < 4 else cores - physics))


def set_torch_threads(learner: int) -> None:
    """Give torch's operators that many threads; call it before the first of them runs."""
    import torch

    _keep_freed_memory()
    # Huge pages for large tensors: random rows of a large replay would miss the TLB. Read at the first such tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_num_threads(learner)
    with contextlib.suppress(RuntimeError):  # torch's other pool may have started: its size is then final
        torch.set_num_interop_threads(1)


def _keep_freed_memory() -> None:
    """Let glibc keep what an update frees for the next one: several hundred page faults an update otherwise."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc, trim_threshold, mmap_threshold = ctypes.CDLL("libc.so.6"), -1, -3
            libc.mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
            libc.mallopt(trim_threshold, 256 << 20)
