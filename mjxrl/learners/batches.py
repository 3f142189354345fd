"""Batches with invalid transitions: what no loss, gradient or mean may see."""

from __future__ import annotations

import torch
from torch import Tensor

from mjxrl.replay import Batch


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (..., B) over the last axis, over valid transitions only: (...). 0 where none is valid.

    where(), not a product: the values of a quarantined world may be NaN, and 0 * NaN is NaN.
    """
    return torch.where(valid > 0, values, 0).sum(-1) / valid.sum().clamp(min=1)


def without_invalid(batch: Batch) -> Batch:
    """The batch with zeros for every number of an invalid transition.

    Masking the loss is not enough: backward multiplies its zero gradients with the network's inputs.
    """
    row = batch.valid > 0
    rows = row.unsqueeze(-1)
    return batch._replace(
        obs=torch.where(rows, batch.obs, 0),
        action=torch.where(rows, batch.action, 0),
        reward=torch.where(row, batch.reward, 0),
        next_obs=torch.where(rows, batch.next_obs, 0),
    )
