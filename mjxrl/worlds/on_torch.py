"""Can a task's functions run on torch, on a GPU, within a graph? Told on any machine, before anything is simulated.

They are called on torch's `meta` device, whose tensors have a shape and a dtype and no numbers: a function that reads
one, or mixes it with an array of the host, fails there as it would in a captured step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mjxrl.envs.task import Array, Controls, Reset, Task
from mjxrl.errors import TaskError
from mjxrl.physics import control_range, field_shapes
from mjxrl.physics.torch_arrays import TorchArrays, TorchNamespace
from mjxrl.worlds.program import vector_reset, vector_step

_META, _WORLDS = torch.device("meta"), 17


def check(task: Task) -> None:
    """Take a reset and a step of `task` on torch's `meta` device.

    Raises:
        TaskError: a function of the task cannot run so; the line names it.
    """
    named = _Named(task)
    physics = _Nowhere(named)  # type: ignore[arg-type]
    action = physics.xp.zeros((_WORLDS, len(physics.ctrl_low)))
    for mode in (contextlib.nullcontext(), _NothingFromTheHost()):  # constants are there after the first time
        with torch.no_grad(), mode:
            state, _ = vector_reset(named, physics, True, None, None)  # type: ignore[arg-type]
            vector_step(named, physics, state, action)  # type: ignore[arg-type]


class _NothingFromTheHost(TorchDispatchMode):
    """No array of the host, such as one of indices, takes part: a graph would not copy it anew."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(tensor.device.type == "cpu" and tensor.ndim for tensor in _tensors(args)):
            raise RuntimeError("an array of the host is copied in every step: put it through xp.asarray")
        return func(*args, **(kwargs or {}))


class _Named:
    """A task whose functions' errors are blamed on them by name."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        value, where = getattr(self._task, name), f"{type(self._task).__name__}.{name}"
        if not callable(value):
            return value

        def function(*arguments: Any) -> Any:
            try:
                returned = value(*arguments)
            except Exception as error:
                said = (str(error).splitlines() or [""])[0]
                raise TaskError(f"{where} cannot run on torch: {type(error).__name__}: {said}") from error
            for tensor in _tensors(returned):
                if tensor.device != _META or tensor.dtype == torch.float64:
                    found = f"{tensor.dtype} on {tensor.device}".removeprefix("torch.")
                    raise TaskError(f"{where} returns {found}, wanted what xp makes: float32 where the worlds are")
            return returned

        return function


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


class _Nowhere(TorchArrays):
    """`Physics` of worlds that are shapes only; its state is nothing."""

    def __init__(self, task: Task) -> None:
        self.num_envs, self.xp, self._shapes = _WORLDS, TorchNamespace(_META), field_shapes(task)
        self._dynamics = task.dynamics if task.analytic else None
        self.ctrl_low, self.ctrl_high = map(self.xp.asarray, control_range(task))

    def init(self, seed: int) -> tuple[None, None]:
        return None, None

    def step(self, state: None, controls: Controls) -> None:
        if self._dynamics is not None:
            view = self.view(None)
            self._dynamics(self.xp, view["qpos"], view["qvel"], controls.ctrl)

    def place(self, state: None, qpos: Array) -> None: ...

    def set_where(self, state: None, mask: Array, first: Reset) -> None: ...

    def view(self, state: None) -> dict[str, Array]:
        return {name: self.xp.zeros((_WORLDS, *shape)) for name, shape in self._shapes.items()}

    def pose(self, state: None) -> dict[str, Array]:
        return {}

    def diverged(self, state: None) -> Array:
        return self.xp.zeros(_WORLDS, bool)

    def overflows(self, state: None) -> Array:
        return self.xp.zeros(_WORLDS, int)
