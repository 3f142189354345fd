"""MJX physics: all worlds in one XLA program, float32, on whatever device jax uses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjxrl.envs.task import Distribution, Task
from mjxrl.physics import control_range

# What a fresh qpos and qvel must be pushed through before a field can be read, cheapest first
_POSITION = {"xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat"}
_INERTIA = {"subtree_com", "cinert", "cdof"}
_VELOCITY = {"cvel", "cdof_dot"}
_ZERO = {"cfrc_ext", "cfrc_int", "cacc"}  # computed by rne_postconstraint only, so zero until the first step
_STATE = {"qpos", "qvel", "act", "ctrl", "qacc_warmstart", "time"}
_MAX = 1e10  # mjMAXVAL (mjmodel.h): C calls a state beyond it bad


class MjxPhysics:
    """`Physics` on MJX with `impl="jax"`; its state is a batched `mjx.Data`.

    The XML's integrator is kept; the PGS solver, which MJX lacks, becomes Newton.
    """

    xp = jnp

    def __init__(self, task: Task, num_envs: int, iterations: int = 8, ls_iterations: int = 8) -> None:
        """Put the model of `task` on jax's device, for `num_envs` worlds.

        Raises:
            ValueError: an actuator has no control range.
            NotImplementedError: MJX cannot simulate the model (its message).
        """
        self.num_envs = num_envs
        self.ctrl_low, self.ctrl_high = control_range(task)
        self._fields, self._frame_skip = task.fields, task.frame_skip
        model = copy.copy(task.model)
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        model.opt.iterations, model.opt.ls_iterations = iterations, ls_iterations
        self._mj_model = model
        self._model = mjx.put_model(model, impl="jax")

    def init(self, seed: int) -> tuple[mjx.Data, jax.Array]:
        data = mjx.make_data(self._mj_model, impl="jax")
        batched = jax.tree.map(lambda x: jnp.tile(x, (self.num_envs,) + (1,) * jnp.ndim(x)), data)
        return batched, jax.random.key_data(jax.random.key(seed))

    def step(self, state: mjx.Data, ctrl: jax.Array) -> mjx.Data:
        def frames(data: mjx.Data, ctrl: jax.Array) -> mjx.Data:
            data = data.replace(ctrl=ctrl)
            data = jax.lax.fori_loop(0, self._frame_skip, lambda _, d: mjx.step(self._model, d), data)
            return mjx.rne_postconstraint(self._model, data) if "cfrc_ext" in self._fields else data

        return jax.vmap(frames)(state, ctrl)

    def view(self, state: mjx.Data) -> dict[str, jax.Array]:
        return {name: _get(state, name) for name in self._fields}

    def set_where(self, state: mjx.Data, mask: jax.Array, qpos: jax.Array, qvel: jax.Array) -> mjx.Data:
        fresh = jax.vmap(self._fresh)(state, qpos, qvel)
        chosen = {}
        for name in sorted(_STATE | set(self._fields)):  # sorted: the same program, and so cached, in every process
            new, old = _get(fresh, name), _get(state, name)
            chosen[_path(name)] = jnp.where(mask.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
        return state.tree_replace(chosen)

    def diverged(self, state: mjx.Data) -> jax.Array:
        def bad(x: jax.Array) -> jax.Array:
            return ~(jnp.abs(x) <= _MAX).all(axis=1)  # written so that NaN is bad

        return bad(state.qpos) | bad(state.qvel)

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
        return jax.lax.cond(condition, then, lambda x: x, operand)

    def _fresh(self, data: mjx.Data, qpos: jax.Array, qvel: jax.Array) -> mjx.Data:
        """One world at qpos, qvel with everything else zero and the fields of the view recomputed, and no more."""
        wanted = set(self._fields) - _STATE - _ZERO
        zeroed = sorted(_STATE | (_ZERO & set(self._fields)))
        zero = {_path(name): jnp.zeros_like(_get(data, name)) for name in zeroed}
        data = data.tree_replace(zero).replace(qpos=qpos, qvel=qvel)
        if wanted <= _POSITION:
            fresh = mjx.kinematics(self._model, data) if wanted else data
        elif wanted <= _POSITION | _INERTIA | _VELOCITY:
            fresh = mjx.com_pos(self._model, mjx.kinematics(self._model, data))
            fresh = mjx.com_vel(self._model, fresh) if wanted & _VELOCITY else fresh
        else:
            fresh = mjx.forward(self._model, data)
        # MJX's kinematics normalises the quaternions in qpos; Gymnasium's first observation shows them as drawn
        return fresh.replace(qpos=qpos, qacc_warmstart=data.qacc_warmstart)


_PUBLIC = {field.name for field in dataclasses.fields(mjx.Data)}  # the rest is under `_impl`


def _path(name: str) -> str:
    return name if name in _PUBLIC else f"_impl.{name}"


def _get(data: mjx.Data, name: str) -> jax.Array:
    return getattr(data if name in _PUBLIC else data._impl, name)
