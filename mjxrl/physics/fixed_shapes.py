"""What the backends whose programs have arrays of fixed shapes, on jax and on torch, share of `Physics`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FixedShapes:
    """Parts of arrays where a mask cannot make one shorter, and nothing asks what is on the device."""

    xp: Any

    def picked(self, mask: Any, array: Any) -> Any:
        return array

    def put(self, mask: Any, picked: Any, array: Any) -> Any:
        return self.xp.where(mask.reshape(-1, *(1,) * (array.ndim - 1)), picked, array)

    def seldom(self, condition: Callable[[], Any], then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        return then()
