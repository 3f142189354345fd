"""MJX physics: all worlds in one XLA program, float32, on whatever device jax uses."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from mjxrl.config import PhysicsConfig
from mjxrl.envs.task import Controls, Reset, Task
from mjxrl.errors import Refusal, UnavailableError
from mjxrl.physics import (
    AFTER_THE_STEP,
    beyond_bounds,
    contacts,
    control_range,
    field_shapes,
    gpu_solver,
    plane_capsule,
)
from mjxrl.physics.dropped import dropped
from mjxrl.physics.jax_arrays import JaxArrays, committed
from mjxrl.physics.solver import INERTIA, POSITION, VELOCITY, cap_in_xml, with_solver

_STATE = {"qpos", "qvel", "act", "ctrl", "qacc_warmstart", "time"}


class MjxState(NamedTuple):
    """The simulator's state of all worlds."""

    data: mjx.Data  # batched
    overflows: jax.Array  # (N,) int32

    @property
    def integration(self) -> dict[str, jax.Array]:
        """What a step depends on, each `(N, …)`, by MjData's names."""
        return {name: _get(self.data, name) for name in sorted(_STATE)}


class MjxPhysics(JaxArrays):
    """`Physics` on MJX with `impl="jax"`.

    The XML's integrator is kept unless `fast` replaces it; the PGS solver, which MJX lacks, becomes Newton.
    """

    def __init__(self, task: Task, num_envs: int, config: PhysicsConfig | None = None) -> None:
        """Put the model of `task` on jax's device, for `num_envs` worlds.

        Raises:
            TaskError: a control has no range, or a field is not of MjData.
            UnavailableError: MJX cannot simulate the model, drops part of it, or lacks a field that the task reads.
        """
        config = config or PhysicsConfig()
        self.num_envs = num_envs
        self.ctrl_low, self.ctrl_high = control_range(task)
        self._task, self._fields, self._frame_skip = task, task.fields, task.frame_skip
        self._cap = config.max_contacts or task.max_contacts or cap_in_xml(task.model)
        self._correct_frames = not config.stock_frames and plane_capsule.wanted()
        self._mj_model = with_solver(task.model, config)
        self._zero = AFTER_THE_STEP & set(task.fields)  # zero until the first step
        if "qfrc_actuator" in task.fields and not task.model.actuator_biastype.any():
            self._zero |= {"qfrc_actuator"}  # no control, no force
        if not config.unchecked and (lost := dropped(self._mj_model, "jax", task.fields)):
            raise self._refusal(f"MJX does not simulate {', '.join(lost)} (--physics.unchecked goes on all the same)")
        with self._refusing():
            self._capped = contacts.capped_groups(self._mj_model, self._cap)
            self._model = mjx.put_model(self._mj_model, impl="jax")
            self._world = self._make_data()
        self._shapes = field_shapes(task)
        for name, shape in self._shapes.items():
            if np.size(_get(self._world, name, ())) != math.prod(shape):
                raise self._refusal(f"it reads {name!r}, which MJX does not give as C does")

    def init(self, seed: int) -> tuple[MjxState, jax.Array]:
        data = self._make_data()  # afresh: it will be donated
        batched = jax.vmap(lambda _: data)(jnp.arange(self.num_envs))
        state = MjxState(batched, jnp.zeros(self.num_envs, jnp.int32))
        return committed(state, seed)

    def step(self, state: MjxState, controls: Controls) -> MjxState:
        def substep(_: int, carry: tuple[mjx.Data, jax.Array]) -> tuple[mjx.Data, jax.Array]:
            data, overflown = carry
            data, now = self._overflown(jax.vmap(mjx.step, in_axes=(None, 0))(self._model, data))
            return data, overflown | now

        with self._as_configured(), self._refusing():
            given = {name: value for name, value in controls._asdict().items() if value is not None}
            start = (state.data.replace(**given), jnp.zeros(self.num_envs, bool))
            data, overflown = jax.lax.fori_loop(0, self._frame_skip, substep, start)
            return MjxState(self._finish(data), state.overflows + overflown)

    def place(self, state: MjxState, qpos: jax.Array) -> MjxState:
        wanted = set(self._fields) - _STATE
        with self._as_configured():
            fresh = jax.vmap(lambda data: self._recompute(data, wanted))(state.data.replace(qpos=qpos))
        chosen = {_path(name): _get(fresh, name) for name in sorted(wanted)}
        return state._replace(data=state.data.tree_replace({"qpos": qpos, **chosen}))

    def view(self, state: MjxState) -> dict[str, jax.Array]:
        # some are matrices here and rows of MjData's
        return {name: _get(state.data, name).reshape(self.num_envs, *shape) for name, shape in self._shapes.items()}

    def pose(self, state: MjxState) -> dict[str, jax.Array]:
        return {name: _get(state.data, name) for name in ("qpos", "mocap_pos", "mocap_quat")}

    def set_where(self, state: MjxState, mask: jax.Array, first: Reset) -> MjxState:
        placed = {"qpos": first.qpos, "qvel": first.qvel}
        if self._mj_model.nmocap:
            for name, place in (("mocap_pos", first.mocap_pos), ("mocap_quat", first.mocap_quat)):
                default = _get(self._world, name)
                placed[name] = jnp.broadcast_to(default, (self.num_envs, *default.shape)) if place is None else place
        with self._as_configured():
            fresh = jax.vmap(self._fresh)(state.data, placed)
        chosen = {}
        for name in sorted(fresh):  # sorted: the same program, and so cached, in every process
            new, old = fresh[name], _get(state.data, name)
            chosen[_path(name)] = jnp.where(mask.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
        return state._replace(data=state.data.tree_replace(chosen))

    def diverged(self, state: MjxState) -> jax.Array:
        return beyond_bounds(jnp, state.data.qpos, state.data.qvel)

    def overflows(self, state: MjxState) -> jax.Array:
        return state.overflows

    def _fresh(self, data: mjx.Data, placed: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Of one world `placed` so, with everything else zero: the state and the fields of the view, and no more."""
        known = {name: jnp.zeros_like(_get(data, name)) for name in sorted(_STATE | self._zero)} | placed
        wanted = sorted(set(self._fields) - known.keys())
        data = data.tree_replace({_path(name): value for name, value in known.items()})
        if wanted:
            data = self._recompute(data, set(wanted))
        # what was known wins: MJX's kinematics normalises the quaternions in qpos, while Gymnasium's first
        # observation shows them as drawn
        return {name: _get(data, name) for name in wanted} | known

    def _refusal(self, why: str) -> UnavailableError:
        return UnavailableError(f"--backend jax: allowed: native for {type(self._task).__name__}: {why}")

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """What MJX cannot do with the model is refused in one line."""
        try:
            yield
        except Refusal:
            raise
        except (NotImplementedError, TypeError, ValueError, AssertionError) as error:
            raise self._refusal(f"MJX says: {' '.join(str(error).split())}") from error

    def _make_data(self) -> mjx.Data:
        with self._as_configured():
            return mjx.make_data(self._mj_model, impl="jax")

    def _finish(self, data: mjx.Data) -> mjx.Data:
        """What follows the last substep."""
        if AFTER_THE_STEP.isdisjoint(self._fields):
            return data
        return jax.vmap(mjx.rne_postconstraint, in_axes=(None, 0))(self._model, data)

    def _recompute(self, data: mjx.Data, wanted: set[str]) -> mjx.Data:
        """One world with the fields `wanted` as they follow from its qpos and qvel."""
        if not wanted <= POSITION | INERTIA | VELOCITY:
            return mjx.forward(self._model, data)
        data = mjx.kinematics(self._model, data)
        if not wanted <= POSITION:
            data = mjx.com_pos(self._model, data)
        return mjx.com_vel(self._model, data) if wanted & VELOCITY else data

    def _overflown(self, data: mjx.Data) -> tuple[mjx.Data, jax.Array]:
        """The worlds `(N,)` that had no room left for another contact after this substep."""
        full = jnp.zeros(self.num_envs, bool)
        for group in self._capped:
            contact = data._impl.contact
            full |= (contact.dist < contact.includemargin)[:, group].all(axis=1)
        return data, full

    @contextlib.contextmanager
    def _as_configured(self) -> Any:
        """In this context MJX is traced with our frames and caps, and for a GPU with our solver."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(contacts.capped(self._cap))
            if self._correct_frames:
                stack.enter_context(plane_capsule.corrected())
            if gpu_solver.wanted():
                stack.enter_context(gpu_solver.patched())
            yield


_PUBLIC = {field.name for field in dataclasses.fields(mjx.Data)}  # the rest is under `_impl`


def _path(name: str) -> str:
    return name if name in _PUBLIC else f"_impl.{name}"


def _get(data: mjx.Data, name: str, *default: Any) -> jax.Array:
    return getattr(data if name in _PUBLIC else data._impl, name, *default)
