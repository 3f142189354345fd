"""What is drawn from a replay: which transitions, the windows that start there, and the numbers that losses see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B transitions as the losses see them; with n-step returns, B windows of m <= n transitions."""

    obs: Tensor
    """(B, O) observation at the window's start."""
    action: Tensor
    """(B, A) action taken there, in [-1, 1]."""
    reward: Tensor
    """(B,) sum of gamma^i r_i over the window."""
    discount: Tensor
    """(B,) gamma^m, m being the window's own length; never in reduced precision (bf16 makes 0.988 of 0.99)."""
    terminated: Tensor
    """(B,) 1 where the window ended in termination, so that nothing follows; else 0."""
    next_obs: Tensor
    """(B, O) observation m steps later; after a truncation the true last one. Meaningless where terminated is 1."""
    valid: Tensor
    """(B,) 0 for transitions of quarantined worlds, which no loss may count; else 1."""


@dataclass(frozen=True)
class Indices:
    """Transitions drawn from the ring, of any leading shape: `indices[k]` are those of update k."""

    flat: Tensor
    """(..., B) int64, row * num_envs + world."""
    steps: Tensor
    """(..., B) int64, stored transitions of that world from this one to the newest, itself included: at least 1."""
    luck: Tensor | None = None
    """(..., B) uniform on [0, 1): decides about another goal. None where there are no goals."""

    def __getitem__(self, k: int) -> Indices:
        return Indices(self.flat[k], self.steps[k], None if self.luck is None else self.luck[k])


class Windows(NamedTuple):
    """Where the windows that start at drawn transitions lead, without the observations. Any leading shape, so that one
    call serves all updates between two vectorized steps; the fields not described are those of `Batch`."""

    first: Tensor
    """(..., B) int64, flat row of the first observation."""
    next: Tensor
    """(..., B) int64, flat row of the next observation, in the ring or in the side region."""
    reward: Tensor
    discount: Tensor
    terminated: Tensor
    valid: Tensor
    goal: Tensor
    """(..., B, G) the goal of both observations; G is 0 where there are no goals."""

    def of_update(self, k: int) -> Windows:
        return Windows(*(tensor[k] for tensor in self))
