"""Analytic physics: worlds whose task brings its own `dynamics`, on numpy, jax or torch; they need no simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mjxrl.envs.task import Array, Controls, Namespace, Reset, Task
from mjxrl.errors import TaskError
from mjxrl.physics import beyond_bounds, control_range
from mjxrl.physics.numpy_arrays import NumpyArrays


class AnalyticState(NamedTuple):
    """All there is to know of the worlds: qpos `(N, nq)` and qvel `(N, nv)`, never changed in place."""

    qpos: Array
    qvel: Array

    @property
    def integration(self) -> dict[str, Array]:
        """The arrays by name."""
        return self._asdict()


class AnalyticPhysics:
    """What numpy, jax and torch share of `Physics`."""

    xp: Namespace
    put: Callable[[Array, Array, Array], Array]

    def __init__(self, task: Task, num_envs: int) -> None:
        """Prepare `num_envs` worlds of `task`.

        Raises:
            TaskError: the task reads a field other than qpos and qvel, or an actuator has no control range.
        """
        unknown = set(task.fields) - set(AnalyticState._fields)
        if unknown:
            name, wrong = type(task).__name__, ", ".join(sorted(unknown))
            raise TaskError(f"{name} has its own dynamics: its fields are qpos and qvel, not {wrong}")
        self._task, self.num_envs = task, num_envs
        self.ctrl_low, self.ctrl_high = control_range(task)

    def step(self, state: AnalyticState, controls: Controls) -> AnalyticState:
        return AnalyticState(*self._task.dynamics(self.xp, state.qpos, state.qvel, controls.ctrl))

    def place(self, state: AnalyticState, qpos: Array) -> AnalyticState:
        return state._replace(qpos=qpos)

    def view(self, state: AnalyticState) -> dict[str, Array]:
        return {name: getattr(state, name) for name in self._task.fields}

    def pose(self, state: AnalyticState) -> dict[str, Array]:
        return {"qpos": state.qpos}

    def set_where(self, state: AnalyticState, mask: Array, first: Reset) -> AnalyticState:
        return AnalyticState(self.put(mask, first.qpos, state.qpos), self.put(mask, first.qvel, state.qvel))

    def diverged(self, state: AnalyticState) -> Array:
        return beyond_bounds(self.xp, state.qpos, state.qvel)

    def overflows(self, state: AnalyticState) -> Array:
        return self.xp.zeros(self.num_envs, self.xp.int32)  # no contacts

    def default(self) -> AnalyticState:
        """Every world at the model's own state, at rest."""
        qpos = self.xp.tile(self.xp.asarray(self._task.init_qpos), (self.num_envs, 1))
        return AnalyticState(qpos, self.xp.zeros((self.num_envs, self._task.model.nv)))


class NumpyAnalyticPhysics(NumpyArrays, AnalyticPhysics):
    """`Physics` of an analytic task in float64 on numpy; imports no jax."""

    def init(self, seed: int) -> tuple[AnalyticState, np.random.Generator]:
        return self.default(), np.random.default_rng(seed)
