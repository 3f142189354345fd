"""What a backend on torch gives to `Physics`: numpy's names on float32 tensors of one device, draws and branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mjxrl.envs.task import Distribution
from mjxrl.physics.fixed_shapes import FixedShapes

# Functions of the elements that torch calls as numpy does and means as numpy does
_ELEMENTWISE = {
    "abs", "absolute", "square", "sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan",
    "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "hypot", "floor", "ceil", "trunc", "round",
    "sign", "isfinite", "isnan", "isinf", "deg2rad", "rad2deg", "nan_to_num", "maximum", "minimum", "where",
    "logical_and", "logical_or", "logical_xor", "logical_not", "matmul",
}  # fmt: skip
_RENAMED = {"power": torch.pow, "mod": torch.remainder, "remainder": torch.remainder, "equal": torch.eq}
_OVER_AXES = {
    "sum": torch.sum,
    "mean": torch.mean,
    "any": torch.any,
    "all": torch.all,
    "max": torch.amax,
    "amax": torch.amax,
    "min": torch.amin,
    "amin": torch.amin,
    "std": partial(torch.std, correction=0),
    "var": partial(torch.var, correction=0),
}
Axes = int | tuple[int, ...] | None


class TorchNamespace:
    """The part of numpy that tasks use, on torch: float32 by default, everything on `device`.

    Constants are put on the device once, so that none is copied from the host while a CUDA graph is captured. Methods
    of tensors are torch's own: `xp.max(x, axis=1)` is an array here, `x.max(axis=1)` is a pair.
    """

    pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None
    float32, int32, int64, bool_ = torch.float32, torch.int32, torch.int64, torch.bool

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._constants: dict[tuple[Any, ...], Tensor] = {}
        self.linalg = _Linalg(self)

    def __getattr__(self, name: str) -> Callable[..., Tensor]:
        if name in _ELEMENTWISE or name in _RENAMED:
            function = partial(self._of_elements, _RENAMED.get(name) or getattr(torch, name))
        elif name in _OVER_AXES:
            function = partial(self._over_axes, _OVER_AXES[name])
        else:
            raise AttributeError(f"xp.{name} is not among the names that tasks have on torch")
        setattr(self, name, function)
        return function

    def asarray(self, x: Any, dtype: Any = None) -> Tensor:
        """A tensor of numbers, or of an array of the host, which must be a constant: it stays on the device."""
        if not isinstance(x, Tensor):
            x = np.asarray(x)
            key = x.dtype.str, x.shape, x.tobytes()
            if key not in self._constants:
                narrow = x.astype(np.float32) if x.dtype == np.float64 else x
                self._constants[key] = torch.tensor(narrow, device=self.device)
            x = self._constants[key]
        return x if dtype is None else x.to(_dtype(dtype))

    array = asarray

    def astype(self, x: Tensor, dtype: Any) -> Tensor:
        return x.to(_dtype(dtype))

    def zeros(self, shape: Any, dtype: Any = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=_dtype(dtype), device=self.device)

    def ones(self, shape: Any, dtype: Any = torch.float32) -> Tensor:
        return torch.ones(shape, dtype=_dtype(dtype), device=self.device)

    def full(self, shape: Any, value: Any, dtype: Any = torch.float32) -> Tensor:
        return self.zeros(shape, dtype) + self.asarray(value, dtype)

    def zeros_like(self, x: Tensor, dtype: Any = None) -> Tensor:
        return torch.zeros_like(x, dtype=dtype and _dtype(dtype))

    def ones_like(self, x: Tensor, dtype: Any = None) -> Tensor:
        return torch.ones_like(x, dtype=dtype and _dtype(dtype))

    def arange(self, *bounds: Any) -> Tensor:
        return torch.arange(*bounds, device=self.device)

    def clip(self, x: Any, low: Any, high: Any) -> Tensor:
        return self.minimum(self.maximum(x, low), high)

    def argmax(self, x: Tensor, axis: int | None = None) -> Tensor:
        return (x.to(torch.uint8) if x.dtype == torch.bool else x).argmax(dim=axis)

    def argmin(self, x: Tensor, axis: int | None = None) -> Tensor:
        return (x.to(torch.uint8) if x.dtype == torch.bool else x).argmin(dim=axis)

    def cumsum(self, x: Tensor, axis: int) -> Tensor:
        return x.cumsum(dim=axis)

    def concatenate(self, parts: Sequence[Any], axis: int = 0) -> Tensor:
        return torch.cat([self.asarray(part) for part in parts], dim=axis)

    def stack(self, parts: Sequence[Any], axis: int = 0) -> Tensor:
        return torch.stack([self.asarray(part) for part in parts], dim=axis)

    def reshape(self, x: Tensor, shape: Any) -> Tensor:
        return x.reshape(shape)

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.permute(*axes)

    def swapaxes(self, x: Tensor, one: int, other: int) -> Tensor:
        return x.transpose(one, other)

    def expand_dims(self, x: Tensor, axis: int) -> Tensor:
        return x.unsqueeze(axis)

    def squeeze(self, x: Tensor, axis: int) -> Tensor:
        return x.squeeze(axis)

    def broadcast_to(self, x: Any, shape: Any) -> Tensor:
        return torch.broadcast_to(self.asarray(x), shape)

    def tile(self, x: Any, times: Any) -> Tensor:
        return torch.tile(self.asarray(x), (times,) if isinstance(times, int) else tuple(times))

    def repeat(self, x: Tensor, times: int, axis: int | None = None) -> Tensor:
        return x.repeat_interleave(times, dim=axis)

    def flip(self, x: Tensor, axis: int) -> Tensor:
        return x.flip(axis)

    def roll(self, x: Tensor, shift: int, axis: int) -> Tensor:
        return torch.roll(x, shift, axis)

    def take_along_axis(self, x: Tensor, index: Tensor, axis: int) -> Tensor:
        return torch.take_along_dim(x, index, dim=axis)

    def cross(self, a: Any, b: Any) -> Tensor:
        return torch.linalg.cross(self.asarray(a), self.asarray(b))

    def einsum(self, subscripts: str, *arrays: Any) -> Tensor:
        return torch.einsum(subscripts, *map(self.asarray, arrays))

    def _of_elements(self, function: Callable[..., Tensor], *arrays: Any, **options: Any) -> Tensor:
        return function(*map(self.asarray, arrays), **options)

    def _over_axes(self, function: Callable[..., Tensor], x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        x = self.asarray(x)
        return function(x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)


class _Linalg:
    """numpy.linalg, as far as tasks use it."""

    def __init__(self, xp: TorchNamespace) -> None:
        self._xp = xp

    def norm(self, x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
        return torch.linalg.vector_norm(self._xp.asarray(x), dim=axis, keepdim=keepdims)


@cache
def _dtype(dtype: Any) -> torch.dtype:
    """torch's name of a dtype, in float32 for float64."""
    if isinstance(dtype, torch.dtype):
        return dtype
    found = torch.from_numpy(np.empty(0, dtype)).dtype
    return torch.float32 if found == torch.float64 else found


class TorchArrays(FixedShapes):
    """What `Physics` says of arrays, on torch, for `num_envs` worlds."""

    xp: TorchNamespace
    num_envs: int

    def draw(self, random: Any, spec: Mapping[str, tuple[Distribution, int]]) -> tuple[Any, dict[str, Tensor]]:
        noise = {}
        for name, (distribution, size) in spec.items():
            shape, kind = (self.num_envs, size), {"generator": random, "device": self.xp.device}
            noise[name] = torch.rand(shape, **kind) * 2 - 1 if distribution == "uniform" else torch.randn(shape, **kind)
        return random, noise

    def when(self, condition: Tensor, then: Callable[[Any], Any], operand: Any) -> Any:
        return then(operand)  # always: `condition` is on the device, and a graph has no branch
