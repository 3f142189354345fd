"""Analytic physics: worlds whose task brings its own `dynamics`, which needs no simulator and runs on numpy or jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mjxrl.envs.task import Array, Distribution, Namespace, Task
from mjxrl.physics import control_range
from mjxrl.physics.numpy_arrays import NumpyArrays

_MAX = 1e10  # mjMAXVAL (mjmodel.h): a state beyond it is bad, as in MuJoCo


class AnalyticState(NamedTuple):
    """All there is to know of the worlds: qpos `(N, nq)` and qvel `(N, nv)`, never changed in place."""

    qpos: Array
    qvel: Array


class _AnalyticPhysics:
    """What numpy and jax share of `Physics`."""

    xp: Namespace

    def __init__(self, task: Task, num_envs: int) -> None:
        """Prepare `num_envs` worlds of `task`.

        Raises:
            ValueError: the task reads a field other than qpos and qvel, or an actuator has no control range.
        """
        unknown = set(task.fields) - set(AnalyticState._fields)
        if unknown:
            name, wrong = type(task).__name__, ", ".join(sorted(unknown))
            raise ValueError(f"{name} has its own dynamics: its fields are qpos and qvel, not {wrong}")
        self._task, self.num_envs = task, num_envs
        self.ctrl_low, self.ctrl_high = control_range(task)

    def step(self, state: AnalyticState, ctrl: Array) -> AnalyticState:
        return AnalyticState(*self._task.dynamics(self.xp, state.qpos, state.qvel, ctrl))

    def view(self, state: AnalyticState) -> dict[str, Array]:
        return {name: getattr(state, name) for name in self._task.fields}

    def set_where(self, state: AnalyticState, mask: Array, qpos: Array, qvel: Array) -> AnalyticState:
        chosen = mask[:, None]
        return AnalyticState(self.xp.where(chosen, qpos, state.qpos), self.xp.where(chosen, qvel, state.qvel))

    def diverged(self, state: AnalyticState) -> Array:
        small = [(self.xp.abs(x) <= _MAX).all(axis=1) for x in state]  # written so that NaN is bad
        return ~(small[0] & small[1])

    def overflows(self, state: AnalyticState) -> Array:
        return self.xp.zeros(self.num_envs, self.xp.int32)  # no contacts

    def _default(self) -> AnalyticState:
        qpos = self.xp.tile(self.xp.asarray(self._task.init_qpos), (self.num_envs, 1))
        return AnalyticState(qpos, self.xp.zeros((self.num_envs, self._task.model.nv)))


class NumpyAnalyticPhysics(NumpyArrays, _AnalyticPhysics):
    """`Physics` of an analytic task in float64 on numpy; imports no jax."""

    def init(self, seed: int) -> tuple[AnalyticState, np.random.Generator]:
        return self._default(), np.random.default_rng(seed)


class JaxAnalyticPhysics(_AnalyticPhysics):
    """`Physics` of an analytic task in float32 on jax."""

    def __init__(self, task: Task, num_envs: int) -> None:
        super().__init__(task, num_envs)
        import jax

        self._jax, self.xp = jax, jax.numpy

    def init(self, seed: int) -> tuple[AnalyticState, Array]:
        return self._default(), self._jax.random.key_data(self._jax.random.key(seed))

    def draw(self, random: Array, spec: Mapping[str, tuple[Distribution, int]]) -> tuple[Array, dict[str, Array]]:
        draws = {"uniform": lambda *a: self._jax.random.uniform(*a, minval=-1.0), "normal": self._jax.random.normal}
        random, *keys = self._jax.random.split(self._jax.random.wrap_key_data(random), 1 + len(spec))
        noise = {
            name: draws[distribution](key, (self.num_envs, size))
            for key, (name, (distribution, size)) in zip(keys, spec.items(), strict=True)
        }
        return self._jax.random.key_data(random), noise

    def when(self, condition: Array, then: Callable[[Any], Any], operand: Any) -> Any:
        return self._jax.lax.cond(condition, then, lambda x: x, operand)
