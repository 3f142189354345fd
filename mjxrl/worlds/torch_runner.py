"""Steps programs of torch: the simulator's arrays are torch's tensors, and nothing crosses over.

On a GPU the step is recorded once, in parts (`physics.recorded`), and runs on a stream of its own beside the learner.
Its tensors then have fixed addresses: what the next step reads is copied back to where this one read it, and results
are handed out as copies, since the next step writes over them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mjxrl.errors import MisfitError
from mjxrl.physics.recorded import NewPart, Recorded, cuda_parts
from mjxrl.physics.warp import WarpState
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.runner import Program, require_idle
from mjxrl.worlds.worlds import StepResult


class TorchRunner:
    """For physics on torch.

    Attributes:
        new_part: what records torch's operations; None: they are launched one by one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._result: StepResult | None = None
        self._recorded: RecordedStep | None = None
        self.new_part: Callable[[torch.Generator], NewPart] | None = None
        if self._stream is not None:
            stream = self._stream
            self.new_part = lambda random: cuda_parts(stream, random)
        self.state: EnvState

    @property
    def busy(self) -> bool:
        return self._result is not None

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with torch.no_grad(), self._beside():
                returned = program(*arguments)
            self._wait()
            return returned

        return run

    def program_bytes(self, program: Any, state: EnvState, action: Tensor) -> int | None:
        return None  # the budget's own estimate is exact

    def dispatch(self, program: Program, action: Tensor) -> None:
        require_idle(self)
        action = self.from_torch(action)
        if self.new_part is not None and self._recorded is None:
            self._recorded = self._record(program, action, self.new_part)
        if self._recorded is None:
            self.state, self._result = program(self.state, action)
            return
        self._recorded.action.copy_(action)  # the step before has read it: whoever collected has waited for that
        with self._beside():
            self.state, self._result = self._recorded(self.state)

    def collect(self) -> StepResult:
        if self._result is None:
            raise RuntimeError("no step was dispatched")
        self._wait()
        result, self._result = self._result, None
        return result if self._recorded is None else _mapped(torch.clone, result)

    def step(self, program: Program, action: Tensor) -> StepResult:
        self.dispatch(program, action)
        return self.collect()

    def save(self) -> dict[str, np.ndarray]:
        arrays = {name: np.array(tensor.cpu()) for name, tensor in _tensors(self.state).items()}
        return arrays | {".random": self.state.random.get_state().numpy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        state = _mapped(torch.clone, self.state)  # a task's own constants may be among them
        for name, tensor in _tensors(state).items():
            saved = arrays.get(name)
            if saved is None or saved.shape != tensor.shape:
                raise MisfitError(f"the saved worlds do not fit this task: {name!r}")
            tensor.copy_(torch.from_numpy(saved))
        state.random.set_state(torch.from_numpy(arrays[".random"]))
        self.state = state

    def to_torch(self, array: Tensor) -> Tensor:
        return array.to(self._device, torch.bool if array.dtype == torch.bool else torch.float32)

    def from_torch(self, tensor: Tensor) -> Tensor:
        return self.to_torch(tensor.detach())

    def close(self) -> None: ...

    def _record(self, program: Program, action: Tensor, new_part: Callable[[Any], NewPart]) -> RecordedStep | None:
        """The step, recorded; None, after a warning, where that fails."""
        outside = torch.cuda.current_stream(self._device) if self._stream is not None else None
        try:
            with self._beside():
                return RecordedStep(program, self.state, action, new_part(self.state.random))
        except RuntimeError as error:
            if outside is not None:
                torch.cuda.set_stream(outside)  # a capture that could not even end leaves its own
            self.new_part = None
            reason = (str(error).splitlines() or [""])[0]
            warnings.warn(f"worlds step without CUDA graphs, more slowly, as capturing failed: {reason}", stacklevel=2)
            return None

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """On the worlds' own stream, after what was enqueued so far."""
        if self._stream is None or torch.cuda.current_stream(self._device) == self._stream:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def _wait(self) -> None:
        """Let what is enqueued from now on wait for the worlds."""
        if self._stream is not None and torch.cuda.current_stream(self._device) != self._stream:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)


class RecordedStep:
    """A program whose state, action and results stay where they are.

    Attributes:
        action: (N, A), where the step reads it.
    """

    def __init__(self, program: Program, state: EnvState, action: Tensor, new_part: NewPart) -> None:
        """Record `program` as it goes on from `state`, which is as before afterwards."""
        self._state, self.action = _mapped(torch.clone, state), action.clone()
        before, random = _mapped(torch.clone, _tensors(self._state)), state.random.get_state()
        try:
            self._step_in_place(program)  # makes what is made once
            self._replay = Recorded(lambda: self._step_in_place(program), new_part)
        finally:
            _copy(before, _tensors(self._state))
            state.random.set_state(random)

    @property
    def parts(self) -> int:
        """Launches of a step."""
        return self._replay.parts

    def __call__(self, state: EnvState) -> tuple[EnvState, StepResult]:
        if state is not self._state:  # reset, or loaded
            _copy(_tensors(state), _tensors(self._state))
            self._state.random.set_state(state.random.get_state())
        return self._state, self._replay()

    def _step_in_place(self, program: Program) -> StepResult:
        state, result = program(self._state, self.action)
        _copy(_tensors(state), _tensors(self._state))
        return result


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with the tensors in its tuples and mappings replaced; simulators and generators stay themselves."""
    match value:
        case Tensor():
            return function(value)
        case Mapping():
            return {name: _mapped(function, part) for name, part in value.items()}
        case tuple():
            return type(value)(*(_mapped(function, part) for part in value))
        case _:
            return value


def _tensors(value: Any, path: str = "") -> dict[str, Tensor]:
    """Every tensor in tuples and mappings, by its path."""
    match value:
        case Tensor():
            return {path: value}
        case Mapping():
            parts = value
        case WarpState():
            parts = value.tensors
        case tuple():
            parts = value._asdict()  # type: ignore[attr-defined]
        case _:
            return {}
    return {name: tensor for key, part in parts.items() for name, tensor in _tensors(part, f"{path}.{key}").items()}


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        if tensor is not source[name]:
            tensor.copy_(source[name])
