"""For how long no kernel runs on the GPU, torch's and jax's together, from torch.profiler's trace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mjxrl.measurement.timing import union

ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}  # categories of a Kineto trace; annotations are none of them


@contextmanager
def profiled(iterations: int) -> Iterator[dict[str, float]]:
    """Trace the block, which makes `iterations` iterations, and fill in what `kernel_time` finds.

    CUPTI sees every kernel of the process, whoever launched it. Tracing slows the host down, so the share of time
    without a kernel is, if anything, too large.
    """
    found: dict[str, float] = {}
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        yield found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        found.update(kernel_time(json.loads(path.read_text(encoding="utf-8"))["traceEvents"], iterations))


def kernel_time(events: list[dict[str, Any]], iterations: int) -> dict[str, float]:
    """From a trace's events, with `ts` and `dur` in microseconds: the share of the time from the first kernel's start
    to the last one's end in which none ran, kernels and busy seconds per iteration."""
    spans = [(e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in ON_DEVICE]
    if not spans:
        return {"kernels_per_iteration": 0.0}
    whole, busy = max(end for _, end in spans) - min(start for start, _ in spans), union(spans)
    return {
        "share_without_kernel": 1 - busy / whole,
        "kernel_s": busy / 1e6 / iterations,
        "kernels_per_iteration": len(spans) / iterations,
    }
