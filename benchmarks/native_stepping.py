"""Environment steps per second on CPU threads: our native worlds beside EnvPool's, interleaved, in one process.

    pip install envpool
    python benchmarks/native_stepping.py --env Ant-v5 --num-envs 64 --threads 2 --json OUT.json

Both step the same number of worlds with the same uniformly random actions; both include observation, reward and
autoreset. The median of the ratios of neighbouring repeats is what to quote: it drifts less than either number.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import mjxrl
from mjxrl import runtime
from mjxrl.config import PhysicsConfig


@dataclass(frozen=True)
class Options:
    env: str = "Ant-v5"
    """Task id."""
    num_envs: int = 64
    """Worlds."""
    threads: int = 2
    """CPU threads that step them."""
    steps: int = 100
    """Vector steps per repeat."""
    repeats: int = 15
    """Repeats of each, after one that is not counted."""
    json: Path | None = None
    """Write the raw figures here."""


def main(options: Options) -> None:
    import envpool  # a peer, not a dependency of ours

    peer: Any = envpool.make(  # type: ignore[attr-defined]
        options.env, env_type="gymnasium", num_envs=options.num_envs, num_threads=options.threads, seed=0
    )
    ours = mjxrl.make_vec(
        options.env, options.num_envs, backend="native", device="cpu", physics=PhysicsConfig(threads=options.threads)
    )
    torch.set_num_threads(1)
    peer.reset()
    ours.reset()
    shape = options.steps, options.num_envs, ours.action_size
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    scaled, tensors = actions * peer.action_space.high, torch.from_numpy(actions)

    rates: dict[str, list[float]] = {"envpool": [], "mjxrl": []}
    for _ in range(1 + options.repeats):
        rates["envpool"].append(rate(peer.step, scaled, options.num_envs))
        rates["mjxrl"].append(rate(ours.step, tensors, options.num_envs))
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = [a / b for a, b in zip(rates["mjxrl"], rates["envpool"], strict=True)]
    for name, values in rates.items():
        print(f"{name:8} {statistics.median(values):9.0f} env-steps/s  ({min(values):.0f} to {max(values):.0f})")
    print(f"mjxrl / envpool: {statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})")
    if options.json:
        from importlib.metadata import version

        versions = {**runtime.versions(), "envpool": version("envpool")}
        report = {
            "env": options.env,
            "num_envs": options.num_envs,
            "threads": options.threads,
            "device": runtime.device_name("cpu"),
            "versions": versions,
            "env_steps_per_s": rates,
            "median_ratio": statistics.median(ratios),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def rate(step: Callable[[Any], Any], actions: Any, num_envs: int) -> float:
    started = time.perf_counter()
    for action in actions:
        step(action)
    return len(actions) * num_envs / (time.perf_counter() - started)


if __name__ == "__main__":
    main(tyro.cli(Options))
