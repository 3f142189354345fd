"""What the backends on numpy share of `Physics`: random draws, parts of arrays and branches, eagerly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mjxrl.envs.task import Distribution


class NumpyArrays:
    """What `Physics` says of arrays, on numpy, for `num_envs` worlds."""

    xp = np
    num_envs: int

    def draw(
        self, random: np.random.Generator, spec: Mapping[str, tuple[Distribution, int]]
    ) -> tuple[np.random.Generator, dict[str, np.ndarray]]:
        noise = {}
        for name, (distribution, size) in spec.items():
            shape = (self.num_envs, size)
            noise[name] = random.uniform(-1, 1, shape) if distribution == "uniform" else random.standard_normal(shape)
        return random, noise

    def picked(self, mask: np.ndarray, array: np.ndarray) -> np.ndarray:
        return array[mask]

    def put(self, mask: np.ndarray, picked: np.ndarray, array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[mask] = picked
        return array

    def seldom(self, condition: Callable[[], Any], then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        return then() if condition() else otherwise()

    def when(self, condition: np.bool_, then: Callable[[Any], Any], operand: Any) -> Any:
        return then(operand) if condition else operand
