"""The seam between tasks and simulators: every backend steps a batch of worlds behind the `Physics` protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Protocol

import mujoco
import numpy as np

from mjxrl.config import PhysicsConfig
from mjxrl.envs.task import Array, Controls, Distribution, Namespace, Reset, Task, View
from mjxrl.errors import Refusal, TaskError, UnavailableError
from mjxrl.machine.devices import WITHOUT_WARP

State = Any  # a pytree of arrays on MJX, a token over buffers on native and Warp

# A step leaves these as they are; `mj_rnePostConstraint` after it computes them (gymnasium/envs/mujoco/mujoco_env.py)
AFTER_THE_STEP = frozenset({"cacc", "cfrc_int", "cfrc_ext"})

LARGEST = 1e10  # mjMAXVAL (mjmodel.h): C calls a number beyond it bad
# m/s or rad/s: no mechanism moves so, whatever its units. Gymnasium's tasks stay below 130 under bang-bang control
FASTEST = 1e6
# C resets a world by itself after one of these and counts it
RESET_IN_C = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


class Physics(Protocol):
    """A batch of worlds of one task's model.

    Attributes:
        xp: array namespace that the task's functions run on (numpy, jax.numpy, or numpy's names on torch).
        num_envs: worlds.
        ctrl_low, ctrl_high: what actions -1 and 1 stand for, `(A,)`: the range of each control, or the task's own.
    """

    xp: Namespace
    num_envs: int
    ctrl_low: Array
    ctrl_high: Array

    def init(self, seed: int) -> tuple[State, Any]:
        """A first state of all worlds (the model's default pose) and the random state that `draw` advances."""
        ...

    def step(self, state: State, controls: Controls) -> State:
        """Advance all worlds by `frame_skip` substeps under the same controls."""
        ...

    def place(self, state: State, qpos: Array) -> State:
        """Put all worlds at `qpos` `(N, nq)`, where they are otherwise as they were, and recompute the view."""
        ...

    def view(self, state: State) -> Mapping[str, Array]:
        """The MjData fields that the task names, each `(N, …)`, safe to keep across the next step."""
        ...

    def pose(self, state: State) -> Mapping[str, Array]:
        """What a picture of the worlds depends on: qpos, and mocap_pos and mocap_quat where MuJoCo simulates."""
        ...

    def set_where(self, state: State, mask: Array, first: Reset) -> State:
        """Put the worlds in `mask` `(N,)` where `first` says: time, controls and warm start zero, view recomputed.

        The arrays of `first` are as `picked` gives them. A caller that knows that no world is masked need not call it;
        nothing else of the state changes.
        """
        ...

    def diverged(self, state: State) -> Array:
        """Worlds `(N,)` bool whose last step left a state `beyond_bounds`, or one that MuJoCo had to reset."""
        ...

    def overflows(self, state: State) -> Array:
        """In how many steps each world ran out of room for contacts and may have lost some, `(N,)` integers.

        Counted since `init`. A world is counted when its room was full, so 0 says that nothing was lost.
        """
        ...

    def draw(self, random: Any, spec: Mapping[str, tuple[Distribution, int]]) -> tuple[Any, dict[str, Array]]:
        """Draw the noise that `spec` names, each `(N, size)`; returns the advanced random state and the noise."""
        ...

    def picked(self, mask: Array, array: Array) -> Array:
        """The worlds of `mask` `(N,)` in `array` `(N, …)`; where shapes are fixed all of them, of which those count."""
        ...

    def put(self, mask: Array, picked: Array, array: Array) -> Array:
        """`array` `(N, …)` with the worlds of `mask` `(N,)` as in `picked`."""
        ...

    def seldom(self, condition: Callable[[], Array], then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """`then()` if the scalar `condition()` holds, else `otherwise()`, which must then equal it and cost less.

        A backend that compiles does not ask: it is `then()` there.
        """
        ...

    def when(self, condition: Array, then: Callable[[Any], Any], operand: Any) -> Any:
        """`then(operand)` if the scalar `condition` holds, else `operand` itself, unchanged in structure.

        Where asking costs more than it saves it is `then(operand)` always, which must be right in both cases.
        """
        ...


def make_physics(
    task: Task, num_envs: int, backend: str, config: PhysicsConfig | None = None, device: str = "cpu"
) -> Physics:
    """`num_envs` worlds of `task` on a backend, whose libraries are imported only now.

    Args:
        device: torch's name of where Warp simulates; C always does on the CPU, and MJX where jax is.

    Raises:
        Refusal: there is no such number of worlds.
        UnavailableError: the task cannot be simulated on this backend (the message says why).
    """
    config = config or PhysicsConfig()
    if not isinstance(num_envs, Integral) or not 1 <= num_envs < 2**31:  # C's int
        raise Refusal(f"num_envs {num_envs}: allowed: a whole number, at least 1")
    if backend == "native" and config.accuracy != "exact":
        raise UnavailableError("--physics.accuracy fast: allowed: exact on native, whose solver is the XML's")
    if config.deterministic and backend == "jax":
        raise UnavailableError("--physics.deterministic: allowed: on warp, and on native, which always is")
    if backend in task.refused_by:
        allowed = ", ".join(name for name in ("native", "jax", "warp") if name not in task.refused_by)
        why = f"{type(task).__name__}: {task.refused_by[backend]}"
        raise UnavailableError(f"--backend {backend}: allowed: {allowed} for {why}")
    if task.analytic:
        if backend == "native":
            from mjxrl.physics.analytic import NumpyAnalyticPhysics

            return NumpyAnalyticPhysics(task, num_envs)
        if backend == "jax":
            from mjxrl.physics.analytic_jax import JaxAnalyticPhysics

            return JaxAnalyticPhysics(task, num_envs)
        if backend == "warp":
            from mjxrl.physics.analytic_torch import TorchAnalyticPhysics

            return TorchAnalyticPhysics(task, num_envs, device)
    if backend == "native":
        from mjxrl.physics.native import NativePhysics

        return NativePhysics(task, num_envs, config.threads)
    if backend == "jax":
        from mjxrl.physics.mjx import MjxPhysics

        return MjxPhysics(task, num_envs, config)
    if backend == "warp":
        try:
            from mjxrl.physics.warp import WarpPhysics
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in ("warp", "mujoco_warp"):
                raise
            raise UnavailableError(WITHOUT_WARP) from None

        return WarpPhysics(task, num_envs, config, device)
    raise UnavailableError(f"--backend {backend}: allowed: jax, warp, native")


def control_range(task: Task) -> tuple[Array, Array]:
    """Limits of the task's actions, each `(A,)`, to which those in [-1, 1] are scaled: its own, or its controls'.

    Raises:
        TaskError: a control has no range, so that there is nothing to scale to; the message names its actuator.
    """
    if task.action_range is not None:
        return task.action_range
    model = task.model
    for actuator, (first, count) in enumerate(zip(model.actuator_ctrladr, model.actuator_ctrlnum, strict=True)):
        for control in range(count):
            if not model.actuator_ctrllimited[first + control]:
                name = model.actuator(actuator).name or f"number {actuator}"
                which = f" for control {control + 1} of its {count}" if count > 1 else ""
                other = " (ctrlrange, velrange or ffrange)" if count > 1 else ""
                raise TaskError(
                    f"actuator {name!r} of {task.xml_file} has no ctrlrange{which}: give it one in the MJCF{other}"
                )
    return model.actuator_ctrlrange[:, 0].copy(), model.actuator_ctrlrange[:, 1].copy()


def beyond_bounds(xp: Namespace, qpos: Array, qvel: Array) -> Array:
    """States `(N,)` bool that no mechanism reaches: positions beyond LARGEST, velocities beyond FASTEST, or NaN."""
    # written so that NaN is beyond
    return ~((xp.abs(qpos) <= LARGEST).all(axis=1) & (xp.abs(qvel) <= FASTEST).all(axis=1))


def broke_down(data: mujoco.MjData) -> bool:
    """What `Physics.diverged` says, of a single simulation in C since it was reset."""
    warned = any(data.warning[int(kind)].number for kind in RESET_IN_C)
    return warned or bool(beyond_bounds(np, data.qpos[None], data.qvel[None])[0])


def field_shapes(task: Task) -> dict[str, tuple[int, ...]]:
    """Shape of each of the task's fields in one world; `time` is a scalar.

    Raises:
        TaskError: MjData has no such array.
    """
    data, shapes = mujoco.MjData(task.model), {}
    for name in task.fields:
        value = getattr(data, name, None)
        if not isinstance(value, (float, np.ndarray)):
            raise TaskError(f"{type(task).__name__} reads {name!r}: allowed: arrays of MjData, and time")
        shapes[name] = np.shape(value)
    return shapes


__all__ = [
    "AFTER_THE_STEP",
    "LARGEST",
    "Physics",
    "State",
    "View",
    "beyond_bounds",
    "broke_down",
    "control_range",
    "field_shapes",
    "make_physics",
]
