"""Steps programs of jax for torch: with `physics/mjx.py` and its like the only place that knows both.

Ownership (DLPack, no copy in either direction): torch never writes into a tensor that came from jax, and no
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
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor

from mjxrl.errors import MisfitError
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.runner import Program, require_idle, require_step
from mjxrl.worlds.worlds import StepResult


class JaxRunner:
    """Without a copy where jax and torch use the same device, by way of the host where they differ."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._same_device = (jax.default_backend() == "cpu") == (device.type == "cpu")
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="physics") if device.type == "cuda" else None
        self._buffers: list[Tensor] = []
        self._pending: Future[tuple[EnvState, StepResult]] | None = None
        self._held: StepResult | None = None
        self.state: EnvState

    @property
    def busy(self) -> bool:
        return self._pending is not None

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(program, donate_argnums=0)

    def program_bytes(self, program: Any, state: EnvState, action: Tensor) -> int | None:
        # jax keeps the executable and takes it for the first call with arrays like these: there is one compilation
        executable = program.lower(state, self.from_torch(action)).compile()
        try:
            used = executable.memory_analysis()
        except jax.errors.JaxRuntimeError:  # a platform that implements none
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
            jax.block_until_ready(self._held)
        return jax.tree.map(self.to_torch, self._held)

    def step(self, program: Program, action: Tensor) -> StepResult:
        self.dispatch(program, action)
        return self.collect()

    def save(self) -> dict[str, np.ndarray]:
        paths, _ = jax.tree.flatten_with_path(self.state)
        arrays = {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in paths}
        # torch hardly knows uint32, which jax's random keys are
        return {name: array.view(np.int32) if array.dtype == np.uint32 else array for name, array in arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        paths, structure = jax.tree.flatten_with_path(self.state)
        leaves = []
        for path, leaf in paths:
            saved = arrays.get(jax.tree_util.keystr(path))
            if saved is None or saved.shape != leaf.shape:
                raise MisfitError(f"the saved worlds do not fit this task: {jax.tree_util.keystr(path)!r}")
            saved = saved.view(np.uint32) if leaf.dtype == np.uint32 else saved
            owned = saved.astype(leaf.dtype)  # a copy: jax may use this very memory from now on
            leaves.append(jax.device_put(owned, leaf.sharding))  # committed as `leaf`: else jit compiles again
        self.state = jax.tree.unflatten(structure, leaves)

    def to_torch(self, array: Any) -> Tensor:
        if self._same_device:
            return torch.from_dlpack(array)
        host = jax.device_put(array, jax.local_devices(backend="cpu")[0])
        return torch.from_dlpack(host).to(self._device)

    def from_torch(self, tensor: Tensor) -> Any:
        if self._same_device:
            return jax.dlpack.from_dlpack(tensor.detach().to(self._device).contiguous())
        return jax.numpy.asarray(tensor.detach().cpu().numpy())

    def close(self) -> None:
        if self._worker is not None:
            self._worker.shutdown()
