"""Between a simulator on the host and torch's device: a step's actions cross in one copy, its results in another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mjxrl.worlds.worlds import StepResult

_ALIGNED = 64  # bytes: where vector instructions of any width like to start


class Crossing:
    """Brings actions to the host, and results to `device`.

    On a GPU both buffers of the host are pinned: neither copy keeps the thread that asks for it, and whoever steps the
    worlds waits for the action alone.
    """

    def __init__(self, device: torch.device, apart: bool | None = None) -> None:
        """Prepare for one step at a time.

        Args:
            apart: whether the device's memory is another one than the host's; by default that of all but a CPU is.
        """
        self._device, self._on_gpu = device, device.type == "cuda"
        self._apart = device.type != "cpu" if apart is None else apart
        self._action: Tensor | None = None
        self._results: Tensor | None = None
        self._layout: _Layout | None = None
        self._sent: torch.Event | None = None

    def bring(self, action: Tensor) -> Callable[[], np.ndarray]:
        """Start to bring an action `(N, A)`, which may then be overwritten; what is returned waits for it: float64."""
        action = action.detach()
        if not self._apart:
            copied = action.to("cpu", torch.float64, copy=True).numpy()
            return lambda: copied
        dtype = torch.float64 if action.dtype == torch.float64 else torch.float32
        if self._action is None or self._action.dtype != dtype:
            self._action = self._host(action.shape, dtype)
        host = self._action.copy_(action, non_blocking=True)
        brought = self._event()

        def wait() -> np.ndarray:
            if brought is not None:
                brought.synchronize()
            return host.numpy().astype(np.float64)

        return wait

    def pack(self, result: StepResult) -> Tensor:
        """What a step gave, arrays of the host, as bytes of the host to be sent before the next is packed."""
        if self._layout is None:
            self._layout = _Layout(result)
        if self._sent is not None:
            self._sent.synchronize()
        if self._results is None or not self._apart:  # where nothing is copied what was handed out must stay
            self._results = self._host((self._layout.size,), torch.uint8)
        for place, array in zip(_leaves(self._layout.places), _leaves(result), strict=True):
            np.copyto(place.of(self._results).numpy(), array, casting="same_kind")
        return self._results

    def send(self, packed: Tensor) -> StepResult:
        """What was packed, as tensors of the device, float32 or bool but for faults; the copy may be under way."""
        assert self._layout is not None
        if self._apart:
            packed = torch.empty_like(packed, device=self._device).copy_(packed, non_blocking=True)
            self._sent = self._event()
        return _mapped(lambda place: place.of(packed), self._layout.places)

    def _host(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._on_gpu)

    def _event(self) -> torch.Event | None:
        """Passed once the device has done what it was given so far."""
        return torch.cuda.current_stream(self._device).record_event() if self._on_gpu else None


class _Place(NamedTuple):
    """Where an array lies in a buffer of bytes."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape) * self.dtype.itemsize

    def of(self, buffer: Tensor) -> Tensor:
        """The array, a view of the buffer."""
        return buffer[self.start : self.end].view(self.dtype).view(self.shape)


class _Layout:
    """Where each array of results like `result` lies.

    Attributes:
        size: bytes in all.
        places: in the place of each array its own.
    """

    def __init__(self, result: StepResult) -> None:
        self.size = 0
        flags = result.terminated, result.truncated, result.valid

        def placed(array: np.ndarray) -> _Place:
            dtype = torch.int64 if array is result.fault else torch.float32
            if any(array is flag for flag in flags):
                dtype = torch.bool
            place = _Place(math.ceil(self.size / _ALIGNED) * _ALIGNED, array.shape, dtype)
            self.size = place.end
            return place

        self.places = _mapped(placed, result)


def _mapped(function: Callable[[Any], Any], result: StepResult) -> StepResult:
    """`result` with `function` of each of its arrays in their place."""
    return StepResult._make(
        {name: function(x) for name, x in part.items()} if isinstance(part, dict) else function(part) for part in result
    )


def _leaves(result: StepResult) -> list[Any]:
    return [x for part in result for x in (part.values() if isinstance(part, dict) else (part,))]
