"""What stands for a CUDA graph on a CPU: torch's operations, recorded and called again on the same tensors.

Like a graph it knows addresses only: a tensor that was rebound, a number that the host read and a Python state that
changed show as differences from what runs eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {"item", "_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "_unique2"}
_OF_THE_HOST = _READS | {"lift_fresh"}  # torch.tensor(...)


def replayed_parts(random: torch.Generator) -> Callable[[], tuple[TorchDispatchMode, Callable[[], None]]]:
    """`NewPart` of `physics.recorded` on a CPU; draws advance their generator by themselves."""

    def new_part() -> tuple[TorchDispatchMode, Callable[[], None]]:
        recorder = _Recorder()
        return recorder, recorder.replay

    return new_part


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _OF_THE_HOST:
            raise RuntimeError(f"{name} reads the device, or copies from the host: it cannot be in a graph")
        out = func(*args, **(kwargs or {}))
        aliases = [result.alias_info for result in func._schema.returns]
        if not aliases or not all(alias is not None and not alias.is_write for alias in aliases):  # else a view
            fresh = any(alias is None for alias in aliases)
            outs = out if isinstance(out, (tuple, list)) else [out]
            self._made.append((func, args, kwargs or {}, [x for x in outs if isinstance(x, Tensor)] if fresh else []))
        return out

    def replay(self) -> None:
        for func, args, kwargs, outs in self._made:
            again = func(*args, **kwargs)
            again = again if isinstance(again, (tuple, list)) else [again]
            for out, new in zip(outs, again, strict=False):
                out.copy_(new)
