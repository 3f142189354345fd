"""Sums by name, on the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mjxrl.storage.state import State


@torch.no_grad()
def add(sums: State, values: Mapping[str, Tensor]) -> None:
    """Add each value to the sum of its name, all in one launch; a new name's sum begins with it."""
    known = [name for name in values if name in sums]
    if known:
        totals, added = [sums[name] for name in known], [values[name] for name in known]
        torch._foreach_add_(totals, added)  # pyright: ignore[reportPrivateImportUsage]
    sums |= {name: value.clone() for name, value in values.items() if name not in sums}
