"""What is drawn from a replay: which transitions, the windows that start there, and the numbers that losses see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B transitions as the losses see them; with n-step returns, B windows of m <= n transitions.

    They are read and prepared for several updates at once, which is what `...` stands for; losses see one of them.
    """

    obs: Annotated[Tensor, "... B O"]
    """Observation at the window's start."""
    action: Annotated[Tensor, "... B A"]
    """Action taken there, in [-1, 1]."""
    reward: Annotated[Tensor, "... B"]
    """Sum of gamma^i r_i over the window."""
    discount: Annotated[Tensor, "... B"]
    """gamma^m, m being the window's own length; never in reduced precision (bf16 makes 0.988 of 0.99)."""
    terminated: Annotated[Tensor, "bool ... B"]
    """Where the window ended in termination, so that nothing follows."""
    next_obs: Annotated[Tensor, "... B O"]
    """Observation m steps later; after a truncation the true last one. Meaningless where terminated."""
    invalid: Annotated[Tensor, "bool ... B"]
    """Transitions of quarantined worlds, which no loss may count."""
    counted: Annotated[Tensor, "int ..."]
    """How many transitions are not, at least 1."""

    def mean(self, values: Annotated[Tensor, "*E B"]) -> Annotated[Tensor, "*E"]:
        """Mean over the last axis, over valid transitions only. 0 where none is valid.

        Not a product: the values of a quarantined world may be NaN, and 0 * NaN is NaN.
        """
        return values.masked_fill(self.invalid, 0).sum(-1) / self.counted


@dataclass(frozen=True)
class Indices:
    """Transitions drawn from the ring, of any leading shape: `indices[k]` are those of update k."""

    flat: Annotated[Tensor, "int ... B"]
    """row * num_envs + world."""
    steps: Annotated[Tensor, "int ... B"]
    """Stored transitions of that world from this one to the newest, itself included: at least 1."""
    luck: Annotated[Tensor, "... B"] | None = None
    """Uniform on [0, 1): decides about another goal. None where there are no goals."""

    def __getitem__(self, k: int | slice) -> Indices:
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
    terminated: Annotated[Tensor, "bool ... B"]
    invalid: Annotated[Tensor, "bool ... B"]
    goal: Annotated[Tensor, "... B G"]
    """The goal of both observations; G is 0 where there are no goals."""
