"""What an algorithm is to the rest: how it acts, what its networks step down, and when its targets move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mjxrl.learners.optimizer import Adam
from mjxrl.learners.values import Value
from mjxrl.networks.parameters import Network
from mjxrl.replay import Batch
from mjxrl.storage.state import Part


class CriticGradient(NamedTuple):
    """What the critics step down, and how it came about."""

    gradients: dict[str, Tensor]
    """(P,) each, by the name of the optimizer that takes it."""
    loss: Tensor
    """0-d"""
    q: Tensor
    """(E, B)"""
    target: Tensor
    """(B,), or (B, K) atoms"""


class Entropy(NamedTuple):
    """How random the policy was, and what that was worth."""

    log_prob: Tensor
    """(B,) log pi(a | s)"""
    log_std: Tensor
    """(B, A) before tanh"""
    temperature: Tensor
    """(1,) before the step"""


class PolicyGradient(NamedTuple):
    """What the actor, and the temperature if there is one, step down, and how it came about."""

    gradients: dict[str, Tensor]
    """(P,) each, by the name of the optimizer that takes it."""
    loss: Tensor
    """The actor's, 0-d."""
    action: Tensor
    """(B, A), the policy's own on the batch's observations."""
    entropy: Entropy | None = None
    """Of a random policy."""


class Algorithm(Protocol):
    """TD3 or SAC. Observations are normalised and batches prepared before it sees them.

    It keeps its networks, optimizers and other tensors for life: who restores a state copies it in.
    """

    noise_per_update: int
    """Gaussian draws of action shape, (B, A), that an update takes."""
    value: Value
    """What the critics' outputs mean."""
    actor: Network
    critics: Network
    networks: Mapping[str, Network]
    """All, by the names under which they are saved; a run may start from those of another."""
    optimizers: Mapping[str, Adam]

    def parts(self) -> dict[str, Part]:
        """Everything that changes as it learns, by the names under which it is saved."""
        ...

    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Exploring actions, (N, A) in [-1, 1], of observations, (N, O)."""
        ...

    def act_deterministic(self, obs: Tensor) -> Tensor:
        """The policy's best actions, (N, A) in [-1, 1], of observations, (N, O)."""
        ...

    def critic_gradient(self, batch: Batch, noise: Tensor) -> CriticGradient:
        """The gradient of the critics' loss; noise is (noise_per_update, B, A). Changes nothing."""
        ...

    def policy_gradient(self, batch: Batch, noise: Tensor) -> PolicyGradient:
        """The gradients of the actor's loss and of what goes with it. Changes nothing."""
        ...

    def update_targets(self, policy_moved: bool) -> None:
        """Move the targets, after every critic update."""
        ...
