"""What the process does that measures one configuration."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any, TypedDict

from mjxrl.config import Config


class Job(TypedDict):
    """What one process measures."""

    section: list[str]
    """Of `SECTIONS`; they share the process."""
    flags: list[str]
    """The configuration, as `mjxrl-train` reads it."""
    repeats: int
    seconds: float
    spawned: float
    """When the process was started, as `time.time` counts."""
    out: str
    """File that gets the result, as JSON."""


def do(job: Job, config: Config) -> dict[str, Any]:
    """Measure every section of the job in this process: its results by name, and the configuration.

    Raises:
        UnavailableError: the device or the backend asked for is not there.
        RunError: the run would not fit into memory.
        PeerError: another process that measures with this one has ended.
    """
    if job["section"] == ["startup"]:
        from mjxrl.measurement import startup

        return {"startup": startup.measure(config, job["spawned"])}
    if job["section"] == ["ranks"]:
        from mjxrl.measurement import ranks

        return {"ranks": {"flags": job["flags"], **ranks.measure(config, job["repeats"], job["seconds"])}}
    from mjxrl.measurement import end_to_end, learner, memory_use, physics, sampling, stepping
    from mjxrl.measurement.setting import set_up

    modules = {
        "physics": physics,
        "learner": learner,
        "end_to_end": end_to_end,
        "memory": memory_use,
        "sampling": sampling,
        "stepping": stepping,
    }
    setting = set_up(config, job["repeats"], job["seconds"])
    about: dict[str, Any] = {
        "flags": job["flags"],
        "num_envs": config.num_envs,
        "preset": config.preset,
        "backend": setting.backend,
        "device": setting.device.type,
        "threads": setting.machine.threads._asdict(),
        "updates_per_step": config.learner.updates_per_step,
        "batch_size": config.learner.batch_size,
        "config": dataclasses.asdict(config),
    }
    for name in job["section"]:
        about[name] = modules[name].measure(setting)
        gc.collect()  # a trainer and its replay may hang in a cycle
    return about
