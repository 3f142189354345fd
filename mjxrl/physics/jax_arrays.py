"""What the backends on jax share of `Physics`: random draws, parts of arrays and branches, as traced into a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mjxrl.envs.task import Distribution
from mjxrl.physics.fixed_shapes import FixedShapes

_MANY = 256  # worlds, of which one is nearly always done: a GPU would wait for the condition in vain


class JaxArrays(FixedShapes):
    """What `Physics` says of arrays, on jax, for `num_envs` worlds."""

    xp = jnp
    num_envs: int

    def draw(
        self, random: jax.Array, spec: Mapping[str, tuple[Distribution, int]]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        random, *keys = jax.random.split(jax.random.wrap_key_data(random), 1 + len(spec))
        noise = {}
        for key, (name, (distribution, size)) in zip(keys, spec.items(), strict=True):
            shape = (self.num_envs, size)
            uniform = distribution == "uniform"
            noise[name] = jax.random.uniform(key, shape, minval=-1.0) if uniform else jax.random.normal(key, shape)
        return jax.random.key_data(random), noise

    def when(self, condition: jax.Array, then: Callable[[Any], Any], operand: Any) -> Any:
        if jax.default_backend() == "gpu" and self.num_envs >= _MANY:
            return then(operand)
        return jax.lax.cond(condition, then, lambda x: x, operand)


def committed(state: Any, seed: int) -> tuple[Any, jax.Array]:
    """The state and the random state of `seed`, committed to the device, as all later states are.

    jit would take them for another type otherwise, and compile twice.
    """
    return jax.device_put((state, jax.random.key_data(jax.random.key(seed))), jax.devices()[0])
