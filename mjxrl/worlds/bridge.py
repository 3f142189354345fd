"""Arrays and control between torch and the simulator: the only file that knows torch and jax at once.

Both bridges run a program `(state, action) -> (state, StepResult)`; `dispatch` starts a step and returns at once,
`collect` waits for it and hands out torch tensors.

Ownership on jax (DLPack, no copy in either direction): torch never writes into a tensor that came from jax, and no
array that torch views is donated. XLA's allocator does not know torch's stream and torch's does not know XLA's, so the
results of step t are held here until step t+1, which depends on torch's reading of them, is enqueued; and actions
alternate between two static buffers, so that the one XLA may still read is never the one torch writes. Array objects,
not raw capsules, are passed, so that DLPack orders the streams.

On a GPU a worker thread starts the step: XLA runs a program on the thread that calls it, and that thread waits for the
device wherever a loop's condition depends on data, as the solver's does. Updates could not be launched meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mjxrl.storage.arrays import arrays_of, restored
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.worlds import StepResult

Program = Callable[[EnvState, Any], tuple[EnvState, StepResult]]


class Bridge(Protocol):
    """Runs a backend's programs for torch."""

    state: EnvState
    """Between `dispatch` and `collect` the one before the step, whose arrays may be gone."""

    @property
    def busy(self) -> bool:
        """Whether a step was dispatched and not yet collected."""
        ...

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """The program as the backend runs it (jitted on jax)."""
        ...

    def dispatch(self, program: Program, action: Tensor) -> None:
        """Start `program` on the current state and `action` `(N, A)`; returns without waiting for it.

        Raises:
            RuntimeError: a step is under way already.
        """
        ...

    def collect(self) -> StepResult:
        """Wait for the step that was dispatched and return its results as torch tensors on the bridge's device."""
        ...

    def step(self, program: Program, action: Tensor) -> StepResult:
        """`dispatch` and `collect` at once."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Copies of everything in `state`, on the host, by path."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `save` gave, in place of a state of the same worlds.

        Raises:
            ValueError: it does not fit them.
        """
        ...

    def to_torch(self, array: Any) -> Tensor:
        """An array of the backend as a float32 or bool tensor on the bridge's device."""
        ...

    def from_torch(self, tensor: Tensor) -> Any:
        """A tensor as an array of the backend."""
        ...

    def close(self) -> None:
        """Let go of the thread that steps the worlds."""
        ...


Pending = Future[tuple[EnvState, StepResult]]


def require_idle(bridge: Bridge) -> None:
    """Raise RuntimeError while a step is under way, whose state nobody may touch."""
    if bridge.busy:
        raise RuntimeError("a step is under way: collect it first")


def require_step(pending: Pending | None) -> Pending:
    """`pending`, or RuntimeError if there is none."""
    if pending is None:
        raise RuntimeError("no step was dispatched")
    return pending


class JaxBridge:
    """Zero-copy bridge to jax on the same device as torch, or by way of the host where they differ."""

    def __init__(self, device: torch.device) -> None:
        import jax

        self._jax, self._device = jax, device
        self._same_device = (jax.default_backend() == "cpu") == (device.type == "cpu")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="physics") if device.type == "cuda" else None
        self._buffers: list[Tensor] = []
        self._pending: Pending | None = None
        self._held: StepResult | None = None
        self.state: EnvState

    @property
    def busy(self) -> bool:
        return self._pending is not None

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        return self._jax.jit(program, donate_argnums=0)

    def program_bytes(self, program: Any, state: EnvState, action: Tensor) -> int | None:
        """Bytes of state, results and temporaries of a `program` from `compile`, by XLA's own account, if it gives one.

        Nothing runs. What is compiled for the answer is what `dispatch` will run.
        """
        # jax keeps the executable and takes it for the first call with arrays like these: there is one compilation
        executable = program.lower(state, self.from_torch(action)).compile()
        try:
            used = executable.memory_analysis()
        except self._jax.errors.JaxRuntimeError:  # a platform that implements none
            return None
        if used is None:
            return None
        results = used.output_size_in_bytes - used.alias_size_in_bytes  # the rest is written over the donated state
        return used.argument_size_in_bytes + results + used.temp_size_in_bytes + used.generated_code_size_in_bytes

    def dispatch(self, program: Program, action: Tensor) -> None:
        require_idle(self)
        if not self._buffers:
            self._buffers = [torch.empty(action.shape, dtype=torch.float32, device=self._device) for _ in range(2)]
        self._buffers.reverse()
        self._buffers[0].copy_(action)
        array = self.from_torch(self._buffers[0])  # on this thread, whose stream the action comes from
        if self._worker is not None:
            self._pending = self._worker.submit(program, self.state, array)
        else:
            started = program(self.state, array)
            self._pending = Future()
            self._pending.set_result(started)

    def collect(self) -> StepResult:
        pending, self._pending = require_step(self._pending), None
        self.state, self._held = pending.result()
        if self._device.type == "cpu":  # no stream orders the two there
            self._jax.block_until_ready(self._held)
        return self._jax.tree.map(self.to_torch, self._held)

    def step(self, program: Program, action: Tensor) -> StepResult:
        self.dispatch(program, action)
        return self.collect()

    def save(self) -> dict[str, np.ndarray]:
        paths, _ = self._jax.tree.flatten_with_path(self.state)
        arrays = {self._jax.tree_util.keystr(path): np.array(leaf) for path, leaf in paths}
        # torch hardly knows uint32, which jax's random keys are
        return {name: array.view(np.int32) if array.dtype == np.uint32 else array for name, array in arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        paths, structure = self._jax.tree.flatten_with_path(self.state)
        leaves = []
        for path, leaf in paths:
            saved = arrays.get(self._jax.tree_util.keystr(path))
            if saved is None or saved.shape != leaf.shape:
                raise ValueError(f"the saved worlds do not fit this task: {self._jax.tree_util.keystr(path)!r}")
            saved = saved.view(np.uint32) if leaf.dtype == np.uint32 else saved
            owned = self._jax.numpy.array(saved, leaf.dtype, copy=True)  # its own memory: it will be donated
            leaves.append(self._jax.device_put(owned, leaf.sharding))  # committed as `leaf`: else jit compiles again
        self.state = self._jax.tree.unflatten(structure, leaves)

    def to_torch(self, array: Any) -> Tensor:
        if self._same_device:
            return torch.from_dlpack(array)
        host = self._jax.device_put(array, self._jax.local_devices(backend="cpu")[0])
        return torch.from_dlpack(host).to(self._device)

    def from_torch(self, tensor: Tensor) -> Any:
        if self._same_device:
            return self._jax.dlpack.from_dlpack(tensor.detach().to(self._device).contiguous())
        return self._jax.numpy.asarray(tensor.detach().cpu().numpy())

    def close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown()


class NumpyBridge:
    """Bridge to a backend on numpy arrays: steps on a worker thread, beside the learner."""

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
        *arrays, terms = result
        tensors = [self.to_torch(array) for array in arrays]
        return StepResult(*tensors, reward_terms={name: self.to_torch(term) for name, term in terms.items()})

    def save(self) -> dict[str, np.ndarray]:
        return arrays_of(self.state)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.state = restored(self.state, arrays)

    def to_torch(self, array: Any) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, torch.bool if tensor.dtype == torch.bool else torch.float32)

    def from_torch(self, tensor: Tensor) -> Any:
        return tensor.detach().to("cpu", torch.float64, copy=True).numpy()

    def close(self) -> None:
        self._worker.shutdown()
