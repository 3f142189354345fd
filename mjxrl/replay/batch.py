"""What is drawn from a replay: which transitions, the windows that start there, and the numbers that losses see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B transitions as the losses see them; with n-step returns, B windows of m <= n transitions."""

    obs: Annotated[Tensor, "B O"]
    """Observation at the window's start."""
    action: Annotated[Tensor, "B A"]
    """Action taken there, in [-1, 1]."""
    reward: Annotated[Tensor, "B"]
    """Sum of gamma^i r_i over the window."""
    discount: Annotated[Tensor, "B"]
    """gamma^m, m being the window's own length; never in reduced precision (bf16 makes 0.988 of 0.99)."""
    terminated: Annotated[Tensor, "B"]
    """1 where the window ended in termination, so that nothing follows; else 0."""
    next_obs: Annotated[Tensor, "B O"]
    """Observation m steps later; after a truncation the true last one. Meaningless where terminated is 1."""
    valid: Annotated[Tensor, "B"]
    """0 for transitions of quarantined worlds, which no loss may count; else 1."""


@dataclass(frozen=True)
class Indices:
    """Transitions drawn from the ring, of any leading shape: `indices[k]` are those of update k."""

    flat: Annotated[Tensor, "int ... B"]
    """row * num_envs + world."""
    steps: Annotated[Tensor, "int ... B"]
    """Stored transitions of that world from this one to the newest, itself included: at least 1."""
    luck: Annotated[Tensor, "... B"] | None = None
    """Uniform on [0, 1): decides about another goal. None where there are no goals."""

    def __getitem__(self, k: int) -> Indices:
        return Indices(self.flat[k], self.steps[k], None if self.luck is None else self.luck[k])


class Windows(NamedTuple):
    """Where the windows that start at drawn transitions lead, without the observations. Any leading shape, so that one
    call serves all updates between two vectorized steps; the fields not described are those of `Batch`."""

    first: Annotated[Tensor, "int ... B"]
    """Flat row of the first observation."""
    next: Annotated[Tensor, "int ... B"]
    """Flat row of the next observation, in the ring or in the side region."""
    reward: Annotated[Tensor, "... B"]
    discount: Annotated[Tensor, "... B"]
    terminated: Annotated[Tensor, "... B"]
    valid: Annotated[Tensor, "... B"]
    goal: Annotated[Tensor, "... B G"]
    """The goal of both observations; G is 0 where there are no goals."""

    def of_update(self, k: int) -> Windows:
        return Windows(*(tensor[k] for tensor in self))
