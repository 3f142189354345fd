"""What updates learn from: draws for K updates at once, and batches with what no loss, gradient or mean may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from torch import Tensor

from mjxrl.replay import Batch, Indices


class Draws(NamedTuple):
    """What is drawn for K updates at once."""

    indices: Indices
    noise: Annotated[Tensor, "_ D B A"]
    """Standard normal; K of them."""

    def of(self, updates: slice) -> Draws:
        """Those of some updates."""
        return Draws(self.indices[updates], self.noise[updates])

    def tensors(self) -> list[Tensor]:
        """All that was drawn."""
        drawn = (self.indices.flat, self.indices.steps, self.indices.luck, self.noise)
        return [tensor for tensor in drawn if tensor is not None]


def each(batches: Batch) -> Iterator[Batch]:
    """One of several batches after the other."""
    return map(Batch._make, zip(*(tensor.unbind() for tensor in batches), strict=True))


def without_invalid(batch: Batch) -> Batch:
    """The batch with zeros for every number of an invalid transition.

    Masking the loss is not enough: backward multiplies its zero gradients with the network's inputs.
    """
    rows = batch.invalid.unsqueeze(-1)
    return batch._replace(
        obs=batch.obs.masked_fill(rows, 0),
        action=batch.action.masked_fill(rows, 0),
        reward=batch.reward.masked_fill(batch.invalid, 0),
        next_obs=batch.next_obs.masked_fill(rows, 0),
    )
