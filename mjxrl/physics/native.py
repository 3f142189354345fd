"""Native physics: MuJoCo's own C batch on CPU threads, float64, with the XML's solver; imports neither jax nor torch.

The batch is driven through its C functions (`mujoco/mjbatch.h`) rather than `mujoco.batch`, because some fields need
`mj_rnePostConstraint` after the last substep (`AFTER_THE_STEP`) and only `mjb_apply` runs that on the worlds' own
MjData, on the batch's threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mjxrl.envs.task import Controls, Reset, Task
from mjxrl.errors import TaskError
from mjxrl.physics import AFTER_THE_STEP, RESET_IN_C, beyond_bounds, control_range, field_shapes
from mjxrl.physics.numpy_arrays import NumpyArrays

# MjData fields that live in the state rows rather than being copied out after a call
_STATE = {
    "qpos": mujoco.mjtState.mjSTATE_QPOS,
    "qvel": mujoco.mjtState.mjSTATE_QVEL,
    "act": mujoco.mjtState.mjSTATE_ACT,
    "ctrl": mujoco.mjtState.mjSTATE_CTRL,
    "qacc_warmstart": mujoco.mjtState.mjSTATE_WARMSTART,
    "mocap_pos": mujoco.mjtState.mjSTATE_MOCAP_POS,
    "mocap_quat": mujoco.mjtState.mjSTATE_MOCAP_QUAT,
    "time": mujoco.mjtState.mjSTATE_TIME,
}
_NO_STAGE, _ALL_STAGES = int(mujoco.mjtStage.mjSTAGE_NONE), int(mujoco.mjtStage.mjSTAGE_ACC)


class NativePhysics(NumpyArrays):
    """`Physics` on MuJoCo's C batch; its state is a token over buffers that `step` and `set_where` change in place.

    Attributes:
        rows: MuJoCo's integration state of every world, `(N, …)`, which is all that a step depends on.
        integration: live views of its parts, each `(N, …)`, by MjData's names.
    """

    def __init__(self, task: Task, num_envs: int, threads: int = 0) -> None:
        """Make `num_envs` worlds stepped by `threads` threads (0: all cores).

        Raises:
            TaskError: a control has no range, or the task reads a field that MuJoCo's batch does not provide.
            RuntimeError: MuJoCo cannot make the batch (its message).
        """
        self.num_envs = num_envs
        self.ctrl_low, self.ctrl_high = control_range(task)
        self._model, self._frame_skip = task.model, task.frame_skip
        self._lib = _library()
        message = ctypes.create_string_buffer(500)
        config = _BatchConfig(nthread=threads, persistent=True)
        handle = self._lib.mjb_makeBatch(self._model._address, num_envs, ctypes.byref(config), message, len(message))
        if not handle:
            raise RuntimeError(f"MuJoCo cannot make a batch of {num_envs} worlds: {message.value.decode()}")
        self._batch = ctypes.c_void_p(handle)
        rows = (num_envs, self._lib.mjb_nstate(self._batch))
        self.rows = _as_array(self._lib.mjb_state(self._batch), np.dtype(np.float64), rows)
        template = mujoco.MjData(self._model)
        self.integration = {name: self._component(name, np.shape(getattr(template, name))) for name in _STATE}
        self._fields = {name: self._bind(name, getattr(template, name)) for name in field_shapes(task)}
        warnings = (num_envs, int(mujoco.mjtWarning.mjNWARNING), 2)  # of each kind: last info, count
        self._warnings = _as_array(self._lib.mjb_warning(self._batch), np.dtype(np.int32), warnings)
        self._rne_post = not AFTER_THE_STEP.isdisjoint(task.fields)

    def __del__(self) -> None:
        if hasattr(self, "_batch"):
            self._lib.mjb_deleteBatch(self._batch)

    def init(self, seed: int) -> tuple[NativePhysics, np.random.Generator]:
        return self, np.random.default_rng(seed)

    def step(self, state: NativePhysics, controls: Controls) -> NativePhysics:
        for name, value in controls._asdict().items():
            if value is not None:
                self.integration[name][...] = value
        self._warnings[...] = 0
        self._run(self._lib.mjb_step, None, self._frame_skip, _NO_STAGE)
        if self._rne_post:
            self._run(self._lib.mjb_apply, None, self._lib.mj_rnePostConstraint, None, 0)
            self._run(self._lib.mjb_forward, None, _NO_STAGE)  # copies bound fields out, which mjb_apply does not
        return self

    def place(self, state: NativePhysics, qpos: np.ndarray) -> NativePhysics:
        self.integration["qpos"][...] = qpos
        self._run(self._lib.mjb_forward, None, _ALL_STAGES)
        return self

    def view(self, state: NativePhysics) -> dict[str, np.ndarray]:
        return {name: field.copy() for name, field in self._fields.items()}

    def pose(self, state: NativePhysics) -> dict[str, np.ndarray]:
        return {name: self.integration[name] for name in ("qpos", "mocap_pos", "mocap_quat")}

    def set_where(self, state: NativePhysics, mask: np.ndarray, first: Reset) -> NativePhysics:
        if mask.shape != (self.num_envs,):  # C ends the process over an index beyond its worlds
            raise ValueError(f"the mask of worlds has shape {mask.shape}, wanted ({self.num_envs},)")
        ids = np.flatnonzero(mask).astype(np.int32)
        self._run(self._lib.mjb_reset, ids, None, _NO_STAGE)
        for name in ("qpos", "qvel", "mocap_pos", "mocap_quat"):
            place = getattr(first, name)
            if place is not None:
                self.integration[name][ids] = place
        self._run(self._lib.mjb_forward, ids, _ALL_STAGES)
        return self

    def diverged(self, state: NativePhysics) -> np.ndarray:
        reset = np.any(self._warnings[:, [int(kind) for kind in RESET_IN_C], 1] > 0, axis=1)
        return reset | beyond_bounds(np, self.integration["qpos"], self.integration["qvel"])

    def overflows(self, state: NativePhysics) -> np.ndarray:
        return np.zeros(self.num_envs, np.int32)  # C makes room as it needs it

    def _run(self, function: Callable[..., int], ids: np.ndarray | None, *arguments: Any) -> None:
        """Call one of the batch's functions on the worlds `ids`, int32, or on all.

        Raises:
            RuntimeError: MuJoCo raised an error in some world.
        """
        pointer = None if ids is None else ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int))
        count = self.num_envs if ids is None else len(ids)
        if function(self._batch, pointer, count, *arguments):
            status = self._lib.mjb_status(self._batch)
            world = next(i for i in range(self.num_envs) if status[i])
            raise RuntimeError(f"MuJoCo failed in world {world}: {self._lib.mjb_error(self._batch, world).decode()}")

    def _component(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A live `(N, …)` array over a part of the state rows."""
        size = ctypes.c_int()
        first = self._lib.mjb_stateComponent(self._batch, int(_STATE[name]), ctypes.byref(size))
        offset = (first - self._lib.mjb_state(self._batch)) // self.rows.itemsize if size.value else 0
        return self.rows[:, offset : offset + size.value].reshape(self.num_envs, *shape)

    def _bind(self, name: str, like: np.ndarray) -> np.ndarray:
        """A live `(N, …)` array over an MjData field, which is `like` this in one world."""
        if name in self.integration:
            return self.integration[name]
        size, itemsize = ctypes.c_int(), ctypes.c_int()
        address = self._lib.mjb_output(self._batch, name.encode(), ctypes.byref(size), ctypes.byref(itemsize))
        if not address:
            raise TaskError(f"the task reads {name!r}: allowed: arrays that MuJoCo's batch provides, and time")
        return _as_array(address, like.dtype, (self.num_envs, *like.shape))


class _BatchConfig(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int), ("persistent", ctypes.c_bool)]


def _as_array(address: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_byte * size).from_address(address)).view(dtype).reshape(shape)


@cache
def _library() -> ctypes.CDLL:
    """MuJoCo's shared library with the signatures of `mujoco/mjbatch.h`; ctypes releases the GIL during calls."""
    path = next(p for p in Path(mujoco.__file__).parent.iterdir() if p.name.startswith(("libmujoco.", "mujoco.dll")))
    lib = ctypes.CDLL(str(path))
    pointer, integer, ids = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "mjb_makeBatch": (pointer, [pointer, integer, ctypes.POINTER(_BatchConfig), ctypes.c_char_p, integer]),
        "mjb_deleteBatch": (None, [pointer]),
        "mjb_nstate": (integer, [pointer]),
        "mjb_state": (pointer, [pointer]),
        "mjb_stateComponent": (pointer, [pointer, integer, ids]),
        "mjb_warning": (pointer, [pointer]),
        "mjb_output": (pointer, [pointer, ctypes.c_char_p, ids, ids]),
        "mjb_step": (integer, [pointer, ids, integer, integer, integer]),
        "mjb_forward": (integer, [pointer, ids, integer, integer]),
        "mjb_reset": (integer, [pointer, ids, integer, ids, integer]),
        "mjb_apply": (integer, [pointer, ids, integer, pointer, pointer, integer]),
        "mjb_status": (ids, [pointer]),
        "mjb_error": (ctypes.c_char_p, [pointer, integer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
