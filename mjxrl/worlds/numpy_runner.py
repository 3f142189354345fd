"""Steps programs of numpy for torch, on a worker thread beside the learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mjxrl.storage.arrays import arrays_of, restored
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.runner import Pending, Program, require_idle, require_step
from mjxrl.worlds.worlds import StepResult


class NumpyRunner:
    """For physics on the CPU, whatever device torch uses."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="physics")
        self._pending: Pending | None = None
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
        # on a GPU this waits for the action, as the simulator on the CPU must
        self._pending = self._worker.submit(program, self.state, self.from_torch(action))

    def collect(self) -> StepResult:
        pending, self._pending = require_step(self._pending), None
        self.state, result = pending.result()
        return self._results(result)

    def step(self, program: Program, action: Tensor) -> StepResult:
        # nothing runs beside it, so the caller's thread will do
        self.state, result = program(self.state, self.from_torch(action))
        return self._results(result)

    def _results(self, result: StepResult) -> StepResult:
        *plain, terms, outcome, fault = result
        named = ({name: self.to_torch(array) for name, array in content.items()} for content in (terms, outcome))
        numbers = torch.from_numpy(fault).to(self._device)
        return StepResult._make([*map(self.to_torch, plain), *named, numbers])

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
