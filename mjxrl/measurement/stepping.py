"""Our vector env by itself: how long its first step takes, its rate, and on a GPU the kernels of a step."""

from __future__ import annotations

import time
from typing import Any

import torch

from mjxrl.measurement.kernels import profiled
from mjxrl.measurement.setting import Setting
from mjxrl.measurement.timing import Contestant, interleaved, rates, sample

PROFILED = 4  # steps


def measure(setting: Setting) -> dict[str, Any]:
    """Env-steps/s under random actions, and seconds until the first step was made, compilation included."""
    started = time.perf_counter()
    env = setting.env()
    env.reset()
    action = torch.rand(env.num_envs, env.action_size, device=setting.device) * 2 - 1
    env.step(action)
    setting.synchronize()
    first = time.perf_counter() - started
    times = interleaved(
        {"step": Contestant(lambda: env.step(action))}, setting.repeats, setting.seconds, setting.synchronize
    )["step"]
    found = {"first_step_s": first, "step_s": sample(times), "env_steps_per_s": rates(times, env.num_envs)}
    if setting.device.type == "cuda" and setting.backend != "native":
        with profiled(PROFILED) as kernels:
            for _ in range(PROFILED):
                env.step(action)
            setting.synchronize()
        found |= kernels
    return found
