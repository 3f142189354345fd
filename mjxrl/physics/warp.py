"""MuJoCo Warp under torch, float32, without jax; on a CPU it runs too, slowly, which serves for tests.

The simulator's arrays are torch tensors over Warp's memory at addresses that never change. What Warp launches for a
step, and for a reset, is recorded once and launched as a graph.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from mjxrl.config import PhysicsConfig
from mjxrl.envs.task import Controls, Reset, Task
from mjxrl.errors import UnavailableError
from mjxrl.physics import AFTER_THE_STEP, beyond_bounds, control_range, field_shapes, warp_frames
from mjxrl.physics.dropped import dropped
from mjxrl.physics.recorded import WarpGraph
from mjxrl.physics.solver import INERTIA, POSITION, VELOCITY, cap_in_xml, with_solver
from mjxrl.physics.torch_arrays import TorchArrays, TorchNamespace
from mjxrl.physics.warp_sizes import bytes_of, sizes

wp: Any = importlib.import_module("warp")  # an extra: types are checked without it too
wp.config.log_level = wp.LOG_WARNING  # else it prints a line per kernel
wp.init()
mjw: Any = importlib.import_module("mujoco_warp")

# Warp notes in each world what ran out; the solver's iterations do so by design
_DROPPED = int(mjw.OverflowType.ALL) & ~int(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS)
_MOCAP = ("mocap_pos", "mocap_quat")
_ZEROED = ("act", "ctrl", "qacc_warmstart", "time")  # at the start of an episode
_STATE = ("qpos", "qvel", *_ZEROED, *_MOCAP)


@dataclass(frozen=True)
class WarpState:
    """The simulator's arrays of all worlds, which steps and resets change in place."""

    tensors: dict[str, Tensor]
    """The state, the task's fields and `overflows`, the count of steps, by MjData's names, `(N, …)`."""
    flags: Tensor
    """(N,) int32, what ran out of room since it was last cleared."""
    substeps: WarpGraph
    recompute: WarpGraph
    """From qpos and qvel, of all worlds, the fields that follow from them."""

    @property
    def integration(self) -> dict[str, Tensor]:
        """What a step depends on, each `(N, …)`, by MjData's names."""
        return {name: self.tensors[name] for name in _STATE}


class WarpPhysics(TorchArrays):
    """`Physics` on MuJoCo Warp.

    The XML's integrator is kept unless `fast` replaces it; the PGS solver, which Warp lacks, becomes Newton.
    """

    def __init__(self, task: Task, num_envs: int, config: PhysicsConfig, device: str) -> None:
        """Put the model of `task` on the device, for `num_envs` worlds.

        Raises:
            TaskError: a control has no range, or a field is not of MjData.
            UnavailableError: Warp sees no GPU, cannot simulate the model, drops part of it, or lacks a field that the
                task reads.
        """
        if torch.device(device).type == "cuda" and not wp.is_cuda_available():
            raise UnavailableError(
                f"--backend warp: allowed: native with --device cuda here, because Warp {wp.__version__} sees no GPU "
                "while torch does: a newer driver"
            )
        self.num_envs, self.xp = num_envs, TorchNamespace(torch.device(device))
        self.ctrl_low, self.ctrl_high = map(self.xp.asarray, control_range(task))
        self._task, self._shapes = task, field_shapes(task)
        self._model = with_solver(task.model, config)
        self._cap = config.max_contacts or task.max_contacts or cap_in_xml(task.model)
        if not config.unchecked and (lost := dropped(self._model, "warp", task.fields)):
            raise self._refusal(f"Warp does not simulate {', '.join(lost)} (--physics.unchecked goes on all the same)")
        warp_frames.correct(not config.stock_frames)
        try:
            self._m = self._on_device(mjw.put_model, self._model)
            world = self._make_data(1)
        except (NotImplementedError, ValueError) as error:
            raise self._refusal(f"Warp says: {' '.join(str(error).split())}") from error
        self._m.opt.warn_overflow = 0  # counted here instead of printed by every world
        self._m.opt.deterministic = config.deterministic
        for name, shape in self._shapes.items():
            array = getattr(world, name, None)
            if not isinstance(array, wp.array) or wp.to_torch(array).numel() != np.prod(shape, dtype=int):
                raise self._refusal(f"it reads {name!r}, which Warp does not give as C does")
        default = mujoco.MjData(self._model)
        self._mocap = {name: self.xp.asarray(getattr(default, name)) for name in _MOCAP}
        self._zero = AFTER_THE_STEP & set(task.fields)  # zero until the first step
        if "qfrc_actuator" in task.fields and not self._model.actuator_biastype.any() and not self._settles:
            self._zero |= {"qfrc_actuator"}  # no control, no force
        self._derived = sorted(set(task.fields) - set(_STATE) - self._zero)

    def init(self, seed: int) -> tuple[WarpState, torch.Generator]:
        data = self._make_data(self.num_envs)
        default = mujoco.MjData(self._model)
        shapes = {name: np.shape(getattr(default, name)) for name in _STATE} | self._shapes
        tensors = {name: wp.to_torch(getattr(data, name)).view(self.num_envs, *shape) for name, shape in shapes.items()}
        tensors["overflows"] = self.xp.zeros(self.num_envs, torch.int32)
        substeps = WarpGraph(lambda: self._substeps(data), self.xp.device)
        recompute = WarpGraph(lambda: self._recompute(data), self.xp.device)
        state = WarpState(tensors, wp.to_torch(data.overflow), substeps, recompute)
        return state, torch.Generator(self.xp.device).manual_seed(seed)

    def step(self, state: WarpState, controls: Controls) -> WarpState:
        for name, value in controls._asdict().items():
            if value is not None:
                state.tensors[name].copy_(value)
        state.flags.zero_()
        state.substeps()
        state.tensors["overflows"].add_((state.flags & _DROPPED) != 0)
        return state

    def place(self, state: WarpState, qpos: Tensor) -> WarpState:
        state.tensors["qpos"].copy_(qpos)
        self._follow(state)
        return state

    def view(self, state: WarpState) -> dict[str, Tensor]:
        return {name: state.tensors[name].clone() for name in self._shapes}

    def pose(self, state: WarpState) -> dict[str, Tensor]:
        return {name: state.tensors[name] for name in ("qpos", *_MOCAP)}

    def set_where(self, state: WarpState, mask: Tensor, first: Reset) -> WarpState:
        placed: dict[str, Any] = dict.fromkeys((*_ZEROED, *self._zero), 0.0)
        placed |= {"qpos": first.qpos, "qvel": first.qvel}
        for name, default in self._mocap.items():
            place = getattr(first, name)
            placed[name] = default if place is None else place
        for name, value in placed.items():
            _put(state.tensors[name], mask, value)
        before = {name: state.tensors[name].clone() for name in self._derived}
        self._follow(state)
        for name, value in before.items():  # worlds that go on are a substep behind, as in C
            _put(state.tensors[name], ~mask, value)
        return state

    def diverged(self, state: WarpState) -> Tensor:
        return beyond_bounds(self.xp, state.tensors["qpos"], state.tensors["qvel"])

    def overflows(self, state: WarpState) -> Tensor:
        return state.tensors["overflows"]

    @property
    def nbytes(self) -> int:
        """Bytes of Warp's arrays, of the model and of all worlds, with those of a solver at work."""
        return self._on_device(bytes_of, self._m, self._model, self.num_envs, self._cap)

    def _follow(self, state: WarpState) -> None:
        """Compute the fields that follow from where the worlds are now, and nothing else."""
        if self._derived:
            qpos = state.tensors["qpos"].clone()  # its quaternions are normalised; Gymnasium shows them as drawn
            state.recompute()
            state.tensors["qpos"].copy_(qpos)

    def _substeps(self, data: Any) -> None:
        for _ in range(self._task.frame_skip):
            mjw.step(self._m, data)
        if not AFTER_THE_STEP.isdisjoint(self._shapes):
            mjw.rne_postconstraint(self._m, data)

    def _recompute(self, data: Any) -> None:
        wanted = set(self._derived)
        if not wanted <= POSITION | INERTIA | VELOCITY:
            mjw.forward(self._m, data)
            return
        mjw.kinematics(self._m, data)
        if not wanted <= POSITION:
            mjw.com_pos(self._m, data)
        if wanted & VELOCITY:
            mjw.com_vel(self._m, data)

    @property
    def _settles(self) -> bool:
        return type(self._task).settled is not Task.settled

    def _make_data(self, worlds: int) -> Any:
        naconmax, njmax = sizes(self._m, self._model, worlds, self._cap)
        return self._on_device(mjw.make_data, self._model, nworld=worlds, naconmax=naconmax, njmax=njmax)

    def _on_device(self, function: Any, *arguments: Any, **sizes: Any) -> Any:
        with wp.ScopedDevice(wp.device_from_torch(self.xp.device)):
            made = function(*arguments, **sizes)
            wp.synchronize_device()  # what it copied there is there, whatever stream reads it
        return made

    def _refusal(self, why: str) -> UnavailableError:
        return UnavailableError(f"--backend warp: allowed: native for {type(self._task).__name__}: {why}")


def _put(target: Tensor, mask: Tensor, value: Any) -> None:
    """Write `value` into the worlds of `mask`."""
    target.copy_(torch.where(mask.reshape(-1, *(1,) * (target.ndim - 1)), value, target))
