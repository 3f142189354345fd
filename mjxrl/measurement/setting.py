"""What all measurements of one process share: a configuration as training would have it, on devices that are set up."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.config.presets import merged
from mjxrl.envs.task import Task
from mjxrl.machine.devices import Machine
from mjxrl.replay import Replay
from mjxrl.replay.ring import VALID
from mjxrl.storage.tensor_file import Stream
from mjxrl.training import budget, launch
from mjxrl.worlds.vector_env import VectorEnv


@dataclass(frozen=True)
class Setting:
    """A configuration, resolved as `mjxrl-train` resolves it, and how long to measure."""

    config: Config
    machine: Machine
    repeats: int
    seconds: float

    @property
    def backend(self) -> str:
        return self.machine.backend

    @property
    def device(self) -> torch.device:
        return torch.device(self.machine.device)

    @property
    def task(self) -> Task:
        return self.config.task

    @property
    def sizes(self) -> tuple[int, int]:
        """Widths O and A of observations and actions."""
        return budget.widths(self.config)

    def synchronize(self) -> None:
        """Wait for torch's device; what jax computes is waited for by whoever reads it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def env(self, threads: int = 0) -> VectorEnv:
        """Worlds as the trainer makes them, on `threads` CPU threads (native; 0: the trainer's share)."""
        physics = dataclasses.replace(self.config.physics, threads=threads or self.machine.threads.physics)
        return VectorEnv(
            self.task,
            self.config.num_envs,
            backend=self.backend,
            device=self.device,
            seed=self.config.seed,
            stagger=True,
            physics=physics,
        )

    def replay(self, capacity: int | None = None) -> Replay:
        """A full replay as the trainer makes it, of random numbers."""
        replay = Replay(
            self.config.num_envs,
            *self.sizes,
            capacity=capacity or self.config.replay.capacity,
            time_limit=self.task.max_episode_steps,
            device=self.device,
        )
        fill(replay)
        return replay


def set_up(config: Config, repeats: int, seconds: float) -> Setting:
    """Prepare this process for `config` as `mjxrl-train` does.

    Raises:
        UnavailableError: the device or the backend asked for is not there.
        MemoryProblem: the run would not fit.
    """
    machine = config.machine()
    unsaved = merged(config, {"checkpoint": {"replay": False}})  # nothing is saved here
    launch.prepare(unsaved, machine)
    return Setting(config, machine, repeats, seconds)


def fill(replay: Replay) -> None:
    """Make a replay full of valid transitions of random numbers, the same in each row: its memory is really there."""
    with closing(replay.snapshot()) as empty:
        state = dict(empty.tensors)
    filled = replay.capacity // state["slot"].shape[0]
    full: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if isinstance(tensor, Stream):
            shape = tensor.shape[1:]
            row = torch.rand(shape) * 2 - 1 if tensor.dtype.is_floating_point else torch.zeros(shape)
            row = torch.full(shape, VALID) if name == "flags" else row
            tensor = row.to(tensor.dtype).expand(filled + (name == "obs"), *shape)
        full[name] = tensor
    replay.load_state_dict(full | {"head": torch.tensor(filled), "filled": torch.tensor(filled)})
