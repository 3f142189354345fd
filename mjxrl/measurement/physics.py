"""Physics alone: our vector env beside the bare simulator loop on the same model, worlds and actions.

The bare loop is `frame_skip` plain `mjx.step` calls in one jitted program, on native MuJoCo's own `mujoco.batch`: no
reward, observation, time limit or reset. What the vector env takes longer is our overhead. The bare worlds start from
the vector env's states each time, since without resets they would drift into others (fallen, with more contacts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from mjxrl.envs.task import Controls
from mjxrl.measurement.setting import Setting
from mjxrl.measurement.timing import Contestant, interleaved, rates, ratios
from mjxrl.physics import make_physics
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.vector_env import VectorEnv

STEPS = 50  # vector steps of the bare loop before it starts again from the vector env's states


class _Loop:
    """Steps `(state, control) -> state` through the same controls again and again."""

    def __init__(self, step: Callable[[Any, Any], Any], first: Callable[[], Any], controls: Sequence[Any]) -> None:
        self._step, self._first, self._controls = step, first, controls
        self.state: Any = None

    def start(self) -> None:
        self.state, self._at = self._first(), iter(self._controls)

    def step(self) -> None:
        self.state = self._step(self.state, next(self._at))


def measure(setting: Setting) -> dict[str, Any]:
    """Env-steps/s of both, and the bare loop's time as a share of the vector env's (1: no overhead)."""
    env, worlds = setting.env(), setting.config.num_envs
    env.reset()
    generator = torch.Generator(setting.device).manual_seed(0)
    actions = torch.rand((STEPS, worlds, env.action_size), generator=generator, device=setting.device) * 2 - 1
    low, high = env.control_range
    controls = to_controls(actions.double().cpu().numpy(), low, high)
    if setting.backend == "native":
        bare = (_dynamics if setting.task.analytic else _batch)(setting, env, controls)
    else:
        bare = _jitted(setting, env, controls)
    loops = {"bare": bare, "vector_env": _Loop(lambda _, action: env.step(action), lambda: None, list(actions))}

    def synchronize() -> None:
        if setting.backend != "native":
            import jax

            jax.block_until_ready(bare.state)
        setting.synchronize()

    contestants = {name: Contestant(loop.step, loop.start, STEPS) for name, loop in loops.items()}
    times = interleaved(contestants, setting.repeats, setting.seconds, synchronize)
    return {name: {"env_steps_per_s": rates(seconds, worlds)} for name, seconds in times.items()} | {
        "vector_env_against_bare": ratios(times["bare"], times["vector_env"])
    }


def _batch(setting: Setting, env: VectorEnv, controls: np.ndarray) -> _Loop:
    """MuJoCo's own batch in C, on as many threads."""
    from mujoco.batch import Batch

    batch = Batch(setting.task.model, env.num_envs, setting.machine.threads.physics, persistent=True)
    ctrl, frame_skip = batch.bind("ctrl"), setting.task.frame_skip

    def first() -> None:
        batch.state[...] = env.state.physics.rows

    def step(_: None, control: np.ndarray) -> None:
        ctrl[...] = control
        batch.step(nstep=frame_skip)

    return _Loop(step, first, list(controls))


def _dynamics(setting: Setting, env: VectorEnv, controls: np.ndarray) -> _Loop:
    """The task's own dynamics on numpy."""
    physics = make_physics(setting.task, env.num_envs, "native")
    return _Loop(physics.step, lambda: env.state.physics, [Controls(control) for control in controls])


def _jitted(setting: Setting, env: VectorEnv, controls: np.ndarray) -> _Loop:
    """`mjx.step`, traced with the contact caps and friction frames that ours is traced with, or the task's dynamics."""
    import jax
    from mujoco import mjx

    physics: Any = make_physics(setting.task, env.num_envs, setting.backend, setting.config.physics)

    def step(data: Any, control: Any) -> Any:
        if setting.task.analytic:
            return physics.step(data, Controls(control))
        world_step = jax.vmap(mjx.step, in_axes=(None, 0))
        with physics._as_configured():
            data = data.replace(ctrl=control)
            return jax.lax.fori_loop(0, setting.task.frame_skip, lambda _, d: world_step(physics._model, d), data)

    def first() -> Any:
        state = env.state.physics
        return jax.tree.map(jax.numpy.copy, state if setting.task.analytic else state.data)  # it will be donated

    on_device = [jax.device_put(control.astype(np.float32)) for control in controls]
    return _Loop(jax.jit(step, donate_argnums=0), first, on_device)
