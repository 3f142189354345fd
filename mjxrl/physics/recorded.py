"""Programs of torch and Warp as a few graphs, which are launched in order.

Each library captures its own part. Warp's solver loops are conditional nodes, for which Warp ends the stream's capture
and takes it up again; torch's allocator knows its own captures by their id and might lose one that is treated so. A
launch of Warp's graph while a program is recorded therefore ends a part of torch's and begins the next.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch

wp: Any = importlib.import_module("warp")  # Any: its stubs know less than its compiler

Launch = Callable[[], object]
NewPart = Callable[[], tuple[contextlib.AbstractContextManager[Any], Launch]]
"""A context in which torch's operations are recorded, and what does them again."""

_recording: ContextVar[Recorded | None] = ContextVar("_recording", default=None)


class WarpGraph:
    """The launches of `function`: made one by one at the first call, which builds the kernels; then as one graph.

    The graph follows torch's current stream; the first call waits for it, and is waited for.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function, self._device, self._graph = function, device, None

    def __call__(self) -> None:
        recording = _recording.get()
        if self._graph is None:
            self._graph = self._run_and_capture()
        elif recording is not None:
            recording.insert(self._launch)
        else:
            self._launch()

    def _run_and_capture(self) -> Any:
        # On Warp's own stream: what Warp frees while kernels still run is only safe there, since the null stream, on
        # which it frees, does not wait for torch's.
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        with wp.ScopedDevice(wp.device_from_torch(self._device)):
            self._function()
            with not_collecting(), wp.ScopedCapture() as capture:
                self._function()
            wp.synchronize_device()
        return capture.graph

    def _launch(self) -> None:
        on_gpu = self._device.type == "cuda"
        stream = wp.stream_from_torch(torch.cuda.current_stream(self._device)) if on_gpu else None
        wp.capture_launch(self._graph, stream)


class Recorded:
    """What `program` does, recorded; a call does it again on the same tensors, and returns the same tensors.

    Everything that is made once, such as kernels and constants, must have been made: run `program` before.
    """

    def __init__(self, program: Callable[[], Any], new_part: NewPart) -> None:
        self._new_part, self._launches, self._open = new_part, [], contextlib.ExitStack()
        token = _recording.set(self)
        try:
            with not_collecting(), self._open:
                self._begin()
                self._result = program()
        finally:
            _recording.reset(token)

    @property
    def parts(self) -> int:
        """Launches of a call."""
        return len(self._launches)

    def insert(self, launch: Launch) -> None:
        """Put a launch between two parts of torch's, while `program` is recorded."""
        self._open.close()
        self._launches.append(launch)
        self._begin()

    def _begin(self) -> None:
        context, launch = self._new_part()
        self._open.enter_context(context)
        self._launches.append(launch)

    def __call__(self) -> Any:
        for launch in self._launches:
            launch()
        return self._result


def cuda_parts(stream: torch.cuda.Stream, random: torch.Generator) -> NewPart:
    """Parts of torch's as CUDA graphs of one memory pool, whose draws advance `random`."""
    pool = torch.cuda.graph_pool_handle()  # they run one after the other

    def new_part() -> tuple[contextlib.AbstractContextManager[Any], Launch]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(random)
        # thread_local: other threads may allocate meanwhile without spoiling the capture
        context = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
        return context, graph.replay

    return new_part


@contextlib.contextmanager
def not_collecting() -> Iterator[None]:
    """Keep garbage for later: the destructor of a graph would be recorded, which spoils a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
