"""Learners: what acts, and what turns replay into better weights. The trainer knows only this protocol."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mjxrl.config.schema import ALGORITHMS, Config
from mjxrl.learners.sac import SAC
from mjxrl.learners.td3 import TD3
from mjxrl.replay import Replay


class Learner(Protocol):
    """N worlds, observations of width O (raw: the learner normalises them), actions of width A in [-1, 1]."""

    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Exploring actions, (N, A), of raw observations, (N, O)."""
        ...

    def act_deterministic(self, obs: Tensor) -> Tensor:
        """The policy's best actions, (N, A), of raw observations, (N, O)."""
        ...

    def observe(self, obs: Tensor, mask: Tensor | None = None) -> None:
        """Update the observation statistics from fresh frames, (N, O); `mask`, (N,) bool, leaves rows out."""
        ...

    def observe_rewards(self, reward: Tensor, ended: Tensor, valid: Tensor) -> None:
        """Update the statistics of returns from one vector step, (N,) each, of worlds that are `valid`."""
        ...

    def warm_up(self, replay: Replay) -> None:
        """Make ready for fast updates while nothing else uses the device; changes no state."""
        ...

    def update(self, replay: Replay, updates: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Make K gradient updates; metrics are 0-d tensors on the device."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that an exact resume needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy a saved state in."""
        ...

    def policy_state(self) -> dict[str, Tensor]:
        """The actor and the observation statistics."""
        ...

    def load_weights(self, state: dict[str, Tensor]) -> None:
        """Start from saved networks, targets and observation statistics."""
        ...


def make_learner(
    config: Config,
    obs_size: int,
    action_size: int,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> Learner:
    """The learner that `config.algo` names, initialised from `config.seed`.

    Raises:
        ValueError: the name is unknown.
    """
    if config.algo == "td3":
        return TD3(config, obs_size, action_size, device, dtype)
    if config.algo == "sac":
        return SAC(config, obs_size, action_size, device, dtype)
    raise ValueError(f"unknown algorithm {config.algo!r}: choose from {', '.join(ALGORITHMS)}")
