"""What an algorithm is to the rest: how it acts, what its networks step down, and when its targets move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Protocol

import torch
from torch import Tensor

from mjxrl.learners.optimizer import Adam
from mjxrl.learners.values import Value
from mjxrl.networks.parameters import Network
from mjxrl.replay import Batch
from mjxrl.storage.state import Part


class CriticGradient(NamedTuple):
    """What the critics step down, by the name of the optimizer that takes it, and how it came about: their loss, what
    they said, and what they should have said."""

    gradients: dict[str, Annotated[Tensor, "_"]]
    loss: Annotated[Tensor, ""]
    outputs: Annotated[Tensor, "E B out"]
    target: Annotated[Tensor, "B *K"]
    drift: Annotated[Tensor, "S"] | None = None
    """With BatchNorm in the critics: how far the batch's statistics are from the running ones."""


class Entropy(NamedTuple):
    """How random the policy was, and what that was worth before the step."""

    log_prob: Annotated[Tensor, "B"]
    log_std: Annotated[Tensor, "B A"]
    temperature: Annotated[Tensor, "..."]


class PolicyGradient(NamedTuple):
    """What the actor, and the temperature if there is one, step down, by the names of their optimizers, and how it
    came about: the actor's loss, and the policy's own actions on the batch's observations."""

    gradients: dict[str, Annotated[Tensor, "_"]]
    loss: Annotated[Tensor, ""]
    action: Annotated[Tensor, "B A"]
    entropy: Entropy | None = None
    drift: Annotated[Tensor, "U"] | None = None
    """With BatchNorm in the actor: how far the batch's statistics are from the running ones."""


class Algorithm(Protocol):
    """TD3 or SAC. Observations are normalised and batches prepared before it sees them.

    It keeps its networks, optimizers and other tensors for life: who restores a state copies it in.
    """

    noise_per_update: int
    """D, Gaussian draws of action shape that an update takes."""
    value: Value
    """What the critics' outputs mean."""
    actor: Network
    critics: Network

    @property
    def best_actor(self) -> Network:
        """The one of the networks that acts where nothing is explored."""
        ...

    networks: Mapping[str, Network]
    """All, by the names under which they are saved; a run may start from those of another."""
    optimizers: Mapping[str, Adam]

    def parts(self) -> dict[str, Part]:
        """Everything that changes as it learns, by the names under which it is saved."""
        ...

    def act(self, obs: Annotated[Tensor, "N O"], generator: torch.Generator | None = None) -> Annotated[Tensor, "N A"]:
        """Exploring actions in [-1, 1]."""
        ...

    def act_deterministic(self, obs: Annotated[Tensor, "N O"]) -> Annotated[Tensor, "N A"]:
        """The policy's best actions in [-1, 1]."""
        ...

    def critic_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> CriticGradient:
        """The gradient of the critics' loss. Changes nothing."""
        ...

    def policy_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> PolicyGradient:
        """The gradients of the actor's loss and of what goes with it. Changes nothing."""
        ...

    def step(self, gradients: Mapping[str, Annotated[Tensor, "_"]]) -> None:
        """A step down each gradient by the optimizer of its name."""
        ...

    def update_targets(self, policy_moved: bool) -> None:
        """Move the targets, after every critic update."""
        ...
