"""What a critic's outputs mean: the value itself, or a distribution over returns (C51). Losses take either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mjxrl.config import LearnerConfig
from mjxrl.networks.mlp import critic_outputs, first_member
from mjxrl.networks.parameters import Layer
from mjxrl.replay import Batch


class Value(Protocol):
    """How E critics' outputs, (E, B, outputs), give Q-values, targets and errors."""

    outputs: int
    """Units of a critic's last layer."""

    def q(self, outputs: Tensor) -> Tensor:
        """Q_1 .. Q_E: (E, B)."""
        ...

    def target(self, batch: Batch, next_outputs: Tensor, bonus: Tensor | float = 0.0) -> Tensor:
        """What the critics should say of (s, a), given what the targets say of (s', a'): (B, ...).

        The pessimistic critic counts: the one whose Q is least. `bonus`, (B,), is added to the value of s'.
        """
        ...

    def q_of_target(self, target: Tensor) -> Tensor:
        """The value that a target stands for: (B,)."""
        ...

    def error(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Each critic's loss on each transition: (E, B)."""
        ...


def bellman_target(batch: Batch, next_value: Tensor) -> Tensor:
    """y = sum gamma^i r_i + gamma^m V(s_m), without V after a termination; (B,). Truncated windows do bootstrap."""
    return batch.reward + batch.discount * torch.where(batch.terminated > 0, 0, next_value)


class Scalar:
    """One output, the value; squared error. The papers' form."""

    outputs = 1

    def q(self, outputs: Tensor) -> Tensor:
        return outputs[..., 0]

    def target(self, batch: Batch, next_outputs: Tensor, bonus: Tensor | float = 0.0) -> Tensor:
        return bellman_target(batch, self.q(next_outputs).amin(0) + bonus)

    def q_of_target(self, target: Tensor) -> Tensor:
        return target

    def error(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (self.q(outputs) - target).square()


class Categorical:
    """A distribution over K fixed returns, its mean being the value; cross-entropy to the projected Bellman target.

    Bellemare, Dabney and Munos (2017), "A Distributional Perspective on Reinforcement Learning", arXiv 1707.06887.

    Args:
        atoms: K.
        limit: the returns z_1 .. z_K lie evenly in [-limit, limit], in units of (scaled) reward.
        device: where the atoms live.
        dtype: of the atoms.
    """

    def __init__(self, atoms: int, limit: float, device: torch.device | str, dtype: torch.dtype) -> None:
        self.outputs = atoms
        self.support = torch.linspace(-limit, limit, atoms, device=device, dtype=dtype)
        self._limit = limit

    def q(self, outputs: Tensor) -> Tensor:
        return self._mean(outputs.softmax(-1))

    def target(self, batch: Batch, next_outputs: Tensor, bonus: Tensor | float = 0.0) -> Tensor:
        least = self.q(next_outputs).argmin(0)  # (B,)
        probabilities = next_outputs.softmax(-1)[least, torch.arange(len(least), device=least.device)]
        moved = self.support.unsqueeze(-1) + bonus  # (K, 1 or B); a return per atom
        return self.project(bellman_target(batch, moved).t(), probabilities)

    def q_of_target(self, target: Tensor) -> Tensor:
        return self._mean(target)

    def error(self, outputs: Tensor, target: Tensor) -> Tensor:
        return -(target * F.log_softmax(outputs, -1)).sum(-1)

    def _mean(self, probabilities: Tensor) -> Tensor:
        # not a matrix product, which autocast would round: neighbouring atoms differ by less than bf16 can tell
        return (probabilities * self.support).sum(-1)

    def project(self, returns: Tensor, probabilities: Tensor) -> Tensor:
        """The distribution of `returns`, (B, M), with these probabilities, moved onto the atoms: (B, K).

        Each return gives its probability to the two atoms beside it in proportion to nearness, which keeps the mean;
        one outside the atoms counts at the nearest end (eq. 7). With M = 1 this is the two-hot encoding of a number.
        """
        step = 2 * self._limit / (self.outputs - 1)
        position = (returns.clamp(-self._limit, self._limit) + self._limit) / step
        position = position.clamp(max=self.outputs - 1)  # rounding may lead beyond the last atom
        below = position.floor()
        weight = position - below
        lower = below.long()
        upper = (lower + 1).clamp(max=self.outputs - 1)
        projected = probabilities.new_zeros(len(returns), self.outputs)
        projected.scatter_add_(1, lower, probabilities * (1 - weight))
        return projected.scatter_add_(1, upper, probabilities * weight)


SCALAR = Scalar()


def make_value(settings: LearnerConfig, device: torch.device | str, dtype: torch.dtype) -> Value:
    """The kind of critic that `settings.critic` names."""
    if settings.critic == "categorical":
        return Categorical(settings.atoms, settings.value_range, device, dtype)
    return SCALAR


def q_for_actor(critics: Sequence[Layer], obs: Tensor, action: Tensor, value: Value, which: str) -> Tensor:
    """What the policy climbs: Q_1 ("first"), or the least ("min") or mean ("mean") of all critics; (B,)."""
    q = value.q(critic_outputs(first_member(critics) if which == "first" else critics, obs, action))
    return q.mean(0) if which == "mean" else q.amin(0)
