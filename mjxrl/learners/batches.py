"""What updates learn from: draws for K updates at once, and batches with what no loss, gradient or mean may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from torch import Tensor

from mjxrl.replay import Batch, Windows


class Draws(NamedTuple):
    """What is drawn for K updates at once."""

    windows: Windows
    noise: Annotated[Tensor, "K D B A"]
    """Standard normal."""

    def each(self) -> Iterator[tuple[Windows, Tensor]]:
        """Windows, (B,), and noise, (D, B, A), of one update after the other."""
        for *windows, noise in zip(*(tensor.unbind() for tensor in (*self.windows, self.noise)), strict=True):
            yield Windows(*windows), noise

    def tensors(self, updates: slice) -> list[Tensor]:
        """All of some updates."""
        return [tensor[updates] for tensor in (*self.windows, self.noise)]


def masked_mean(values: Annotated[Tensor, "*E B"], valid: Annotated[Tensor, "B"]) -> Annotated[Tensor, "*E"]:
    """Mean over the last axis, over valid transitions only. 0 where none is valid.

    Not a product: the values of a quarantined world may be NaN, and 0 * NaN is NaN.
    """
    return values.masked_fill(valid == 0, 0).sum(-1) / valid.sum().clamp(min=1)


def without_invalid(batch: Batch) -> Batch:
    """The batch with zeros for every number of an invalid transition.

    Masking the loss is not enough: backward multiplies its zero gradients with the network's inputs.
    """
    row = batch.valid == 0
    rows = row.unsqueeze(-1)
    return batch._replace(
        obs=batch.obs.masked_fill(rows, 0),
        action=batch.action.masked_fill(rows, 0),
        reward=batch.reward.masked_fill(row, 0),
        next_obs=batch.next_obs.masked_fill(rows, 0),
    )
