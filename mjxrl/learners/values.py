"""What a critic's outputs mean: the value itself, or a distribution over returns (C51). Losses take either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mjxrl.networks.layers import Layer
from mjxrl.networks.mlp import critic_outputs, first_member
from mjxrl.replay import Batch


def bellman_target(batch: Batch, next_value: Annotated[Tensor, "..."]) -> Annotated[Tensor, "... B"]:
    """y = sum gamma^i r_i + gamma^m V(s_m), without V after a termination. Truncated windows do bootstrap."""
    return batch.reward + batch.discount * next_value.masked_fill(batch.terminated, 0)


class Scalar:
    """One output, the value; squared error. The papers' form."""

    def q(self, outputs: Annotated[Tensor, "E B 1"]) -> Annotated[Tensor, "E B"]:
        """Q_1 .. Q_E, of critics' outputs."""
        return outputs[..., 0]

    def target(
        self, batch: Batch, next_outputs: Annotated[Tensor, "E B 1"], bonus: Annotated[Tensor, "B"] | float = 0.0
    ) -> Annotated[Tensor, "B"]:
        """What the critics should say of (s, a), given what the targets say of (s', a').

        The pessimistic critic counts: the one whose Q is least. `bonus` is added to the value of s'.
        """
        return bellman_target(batch, self.q(next_outputs).amin(0) + bonus)

    def q_of_target(self, target: Annotated[Tensor, "B"]) -> Annotated[Tensor, "B"]:
        """The value that a target stands for."""
        return target

    def error(self, outputs: Annotated[Tensor, "E B 1"], target: Annotated[Tensor, "B"]) -> Annotated[Tensor, "E B"]:
        """Each critic's loss on each transition."""
        return (self.q(outputs) - target).square()


class Categorical:
    """A distribution over K fixed returns, its mean being the value; cross-entropy to the projected Bellman target.

    Bellemare, Dabney and Munos (2017), "A Distributional Perspective on Reinforcement Learning", arXiv 1707.06887. The
    returns z_1 .. z_K, K being `atoms`, lie evenly in [-limit, limit], in units of (scaled) reward.
    """

    def __init__(self, atoms: int, limit: float, device: torch.device | str, dtype: torch.dtype) -> None:
        self.support = torch.linspace(-limit, limit, atoms, device=device, dtype=dtype)
        self._middle = torch.full((), (atoms - 1) / 2, device=device, dtype=dtype)  # of the atoms' numbers
        self._limit = limit

    def q(self, outputs: Annotated[Tensor, "E B K"]) -> Annotated[Tensor, "E B"]:
        return self.q_of_target(outputs.softmax(-1))

    def target(
        self, batch: Batch, next_outputs: Annotated[Tensor, "E B K"], bonus: Annotated[Tensor, "B"] | float = 0.0
    ) -> Annotated[Tensor, "B K"]:
        probabilities = next_outputs.softmax(-1)
        least = self.q_of_target(probabilities).argmin(0).view(1, -1, 1)
        moved = self.support.unsqueeze(-1) + bonus  # (K, 1 or B); a return per atom
        return self.project(bellman_target(batch, moved).t(), probabilities.take_along_dim(least, 0)[0])

    def q_of_target(self, target: Annotated[Tensor, "*E B K"]) -> Annotated[Tensor, "*E B"]:
        return (target * self.support).sum(-1)

    def error(self, outputs: Annotated[Tensor, "E B K"], target: Annotated[Tensor, "B K"]) -> Annotated[Tensor, "E B"]:
        return (-target * F.log_softmax(outputs, -1)).sum(-1)

    def project(
        self, returns: Annotated[Tensor, "B M"], probabilities: Annotated[Tensor, "B M"]
    ) -> Annotated[Tensor, "B K"]:
        """The distribution of `returns` with these probabilities, moved onto the atoms.

        Each return gives its probability to the two atoms beside it in proportion to nearness, which keeps the mean;
        one outside the atoms counts at the nearest end (eq. 7). With M = 1 this is the two-hot encoding of a number.
        """
        last = len(self.support) - 1
        position = torch.add(self._middle, returns, alpha=last / (2 * self._limit)).clamp_(0, last)
        lower = position.long()
        above = probabilities * (position - lower)  # what goes to the atom above
        # one atom more than there are: nothing goes to the one above the last
        projected = probabilities.new_zeros(len(returns), last + 2)
        projected.scatter_add_(1, lower, probabilities - above)
        projected[:, 1:].scatter_add_(1, lower, above)
        return projected[:, :-1]


Value = Scalar | Categorical
SCALAR = Scalar()


def q_for_actor(
    critics: Sequence[Layer], obs: Annotated[Tensor, "B O"], action: Annotated[Tensor, "B A"], value: Value, which: str
) -> Annotated[Tensor, "B"]:
    """What the policy climbs: Q_1 ("first"), or the least ("min") or mean ("mean") of all critics."""
    q = value.q(critic_outputs(first_member(critics) if which == "first" else critics, obs, action))
    return q.mean(0) if which == "mean" else q.amin(0)
