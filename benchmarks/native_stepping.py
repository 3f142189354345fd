"""Environment steps per second on CPU threads: our native worlds beside EnvPool's and Gymnasium's own vector envs.

    pip install envpool
    python benchmarks/native_stepping.py --env Ant-v5 --num-envs 64 --threads 2 --json OUT.json
    python benchmarks/native_stepping.py --peers envpool sync async
    python benchmarks/native_stepping.py --env Ant-v5 --num-envs 4096 --threads 2 --steps 4 --peers batch

All step the same number of worlds with the same uniformly random actions, in turns; all include observation, reward and
autoreset. Gymnasium's SyncVectorEnv steps its worlds one after the other in this process, AsyncVectorEnv each in a
process of its own, whatever `--threads` says. `batch` is MuJoCo's own batch in C, which has none of the three, and
starts each repeat where our worlds are: what we keep of its rate is what they leave. The median of the ratios of
neighbouring repeats is what to quote: it drifts less than either number.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import gymnasium
import mujoco.batch
import numpy as np
import torch
import tyro

import mjxrl
from mjxrl.adapters import robotics
from mjxrl.config import PhysicsConfig
from mjxrl.machine import devices, versions
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.vector_env import VectorEnv


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
    peers: tuple[Literal["envpool", "sync", "async", "batch"], ...] = ("envpool",)
    """EnvPool, Gymnasium's SyncVectorEnv, Gymnasium's AsyncVectorEnv, MuJoCo's batch."""
    clock: Literal["wall", "processor"] = "wall"
    """What counts as time: the wall clock's, or this process's processors', all threads together, which is what one
    thread takes on a machine that others use."""
    json: Path | None = None
    """Write the raw figures here."""


def main(options: Options) -> None:
    ours = mjxrl.make_vec(
        options.env, options.num_envs, backend="native", device="cpu", physics=PhysicsConfig(threads=options.threads)
    )
    torch.set_num_threads(1)
    ours.reset()
    peers = {name: Batch(ours, options) if name == "batch" else make_peer(name, options) for name in options.peers}
    shape = options.steps, options.num_envs, ours.action_size
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    low, high = ours.control_range
    scaled = to_controls(actions, low, high).astype(np.float32)
    runs: dict[str, tuple[Callable[[Any], Any], Any]] = {name: (peer.step, scaled) for name, peer in peers.items()}
    runs["mjxrl"] = ours.step, torch.from_numpy(actions)

    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + options.repeats):
        for name, (step, given) in runs.items():
            if name == "batch":
                peers[name].follow()
            rates[name].append(rate(step, given, options))
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = {
        name: [a / b for a, b in zip(rates["mjxrl"], values, strict=True)]
        for name, values in rates.items()
        if name != "mjxrl"
    }
    for name, values in rates.items():
        print(f"{name:8} {statistics.median(values):9.0f} env-steps/s  ({min(values):.0f} to {max(values):.0f})")
    for name, values in ratios.items():
        print(f"mjxrl / {name}: {statistics.median(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    for peer in peers.values():
        peer.close()
    if options.json:
        report = {
            "env": options.env,
            "num_envs": options.num_envs,
            "threads": options.threads,
            "clock": options.clock,
            "device": devices.device_name("cpu"),
            "load_average": os.getloadavg(),
            "versions": versions.versions() | ({"envpool": version("envpool")} if "envpool" in peers else {}),
            "order_of_each_repeat": list(runs),
            "env_steps_per_s": rates,
            "median_ratio_of_mjxrl_to": {name: statistics.median(values) for name, values in ratios.items()},
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


class Batch:
    """MuJoCo's batch: a step is `frame_skip` of its own."""

    def __init__(self, ours: VectorEnv, options: Options) -> None:
        task = ours.task
        self._ours, self._frame_skip = ours, task.frame_skip
        self._batch = mujoco.batch.Batch(task.model, options.num_envs, options.threads, persistent=True)
        self._ctrl = self._batch.bind("ctrl")

    def follow(self) -> None:
        """Go where our worlds are."""
        self._batch.state[...] = self._ours.state.physics.rows

    def step(self, control: np.ndarray) -> None:
        self._ctrl[...] = control
        self._batch.step(nstep=self._frame_skip)

    def close(self) -> None: ...


def make_peer(name: str, options: Options) -> Any:
    """A vector env that has been reset."""
    if name == "envpool":
        import envpool  # a peer, not a dependency of ours

        peer: Any = envpool.make(  # type: ignore[attr-defined]
            options.env, env_type="gymnasium", num_envs=options.num_envs, num_threads=options.threads, seed=0
        )
        peer.reset()
        return peer
    if options.env.startswith("Fetch"):
        robotics.register()
    peer = gymnasium.make_vec(options.env, options.num_envs, vectorization_mode=name)
    peer.reset(seed=0)
    return peer


def rate(step: Callable[[Any], Any], actions: Any, options: Options) -> float:
    """Env-steps per second."""
    now = time.process_time if options.clock == "processor" else time.perf_counter
    started = now()
    for action in actions:
        step(action)
    return len(actions) * options.num_envs / (now() - started)


if __name__ == "__main__":
    main(tyro.cli(Options))
