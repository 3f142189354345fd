"""Steps programs of numpy for torch, on a worker thread beside the learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mjxrl.storage.arrays import arrays_of, restored
from mjxrl.worlds.crossing import Crossing
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.runner import Program, require_idle, require_step
from mjxrl.worlds.worlds import StepResult


class NumpyRunner:
    """For physics on the CPU, whatever device torch uses."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="physics")
        self._pending: Future[tuple[EnvState, Tensor]] | None = None
        self._crossing = Crossing(device)
        self.state: EnvState

    @property
    def busy(self) -> bool:
        return self._pending is not None

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        return program

    def program_bytes(self, program: Any, state: EnvState, action: Tensor) -> int | None:
        return None

    def dispatch(self, program: Program, action: Tensor) -> None:
        require_idle(self)
        self._pending = self._worker.submit(self._run, program, self.state, self._crossing.bring(action))

    def collect(self) -> StepResult:
        pending, self._pending = require_step(self._pending), None
        self.state, packed = pending.result()
        return self._crossing.send(packed)

    def step(self, program: Program, action: Tensor) -> StepResult:
        # nothing runs beside it, so the caller's thread will do
        self.state, packed = self._run(program, self.state, self._crossing.bring(action))
        return self._crossing.send(packed)

    def _run(self, program: Program, state: EnvState, action: Callable[[], np.ndarray]) -> tuple[EnvState, Tensor]:
        state, result = program(state, action())
        return state, self._crossing.pack(result)

    def save(self) -> dict[str, np.ndarray]:
        return arrays_of(self.state)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.state = restored(self.state, arrays)

    def to_torch(self, array: Any) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, torch.bool if tensor.dtype == torch.bool else torch.float32)

    def from_torch(self, tensor: Tensor) -> Any:
        dtype = torch.bool if tensor.dtype == torch.bool else torch.float64
        return tensor.detach().to("cpu", dtype, copy=True).numpy()

    def close(self) -> None:
        self._worker.shutdown()
