"""Memory: bytes of the replay, and the peaks of a process in which nothing but the trainer runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch

from mjxrl.measurement.end_to_end import run_trainer
from mjxrl.measurement.setting import Setting
from mjxrl.training.trainer import Trainer

ITERATIONS = 3


def measure(setting: Setting) -> dict[str, Any]:
    """Bytes per transition, against the layout with two copies of each observation, and peaks. For a fresh process."""
    report: dict[str, Any] = {}

    def script(trainer: Trainer) -> Iterator[None]:
        for _ in range(ITERATIONS):
            yield
        replay = trainer.session.replay
        report.update(replay_bytes(setting, replay.nbytes, replay.capacity))

    run_trainer(setting, script)
    return report | host_peak() | device_peaks(setting)


def host_peak() -> dict[str, Any]:
    """The most RAM that this process had; nothing on Windows, which keeps it elsewhere."""
    try:
        import resource
    except ImportError:
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_rss_bytes": peak * (1 if sys.platform == "darwin" else 1024)}


def replay_bytes(setting: Setting, nbytes: int, capacity: int) -> dict[str, Any]:
    """What a transition takes here and where obs and next_obs are stored both.

    That layout is float32 obs, next_obs, action and reward, and a byte each for terminated and truncated.
    """
    obs_size, action_size = setting.sizes
    two_copies = 4 * (2 * obs_size + action_size + 1) + 2
    return {
        "replay_capacity": capacity,
        "replay_bytes": nbytes,
        "bytes_per_transition": nbytes / capacity,
        "two_copies_bytes_per_transition": two_copies,
        "against_two_copies": nbytes / capacity / two_copies,
    }


def device_peaks(setting: Setting) -> dict[str, Any]:
    """Peaks of torch's and of jax's allocator on a GPU; nothing on a CPU."""
    if setting.device.type != "cuda":
        return {}
    peaks: dict[str, Any] = {
        "peak_torch_bytes": torch.cuda.max_memory_allocated(setting.device),
        "peak_torch_reserved_bytes": torch.cuda.max_memory_reserved(setting.device),
    }
    if setting.backend != "native":
        import jax

        peaks["peak_jax_bytes"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    free, total = torch.cuda.mem_get_info(setting.device)
    return peaks | {"device_bytes_in_use": total - free, "device_bytes": total}
