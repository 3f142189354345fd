"""The shapes that annotations give, checked where functions that have them are called; no run knows of this.

`Annotated[Tensor, "B O"]` is a float tensor of B rows of O numbers; `"bool N"` and `"int N"` are of those kinds. A name
is one size within a call, whether in an argument, in a field of a named tuple or in the result; `_` is any size, `*E`
any number of sizes, `...` any shape.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import torch

KINDS: dict[str, Callable[[torch.dtype], bool]] = {
    "bool": lambda dtype: dtype == torch.bool,
    "int": lambda dtype: dtype in (torch.int64, torch.int32, torch.uint8),
    "float": lambda dtype: dtype.is_floating_point,
}
Sizes = dict[str, Any]  # of each name, in one call


class ShapeError(TypeError):
    """A tensor has another shape or kind than its annotation says."""


def check_shapes(*modules: str) -> None:
    """Check the calls of all functions and methods of these modules, also where others have imported them."""
    checks: dict[Any, Any] = {}
    for module in map(importlib.import_module, modules):
        classes = [x for x in vars(module).values() if inspect.isclass(x) and x.__module__ == module.__name__]
        for owner in (module, *classes):
            for name, function in list(vars(owner).items()):
                if (
                    inspect.isfunction(function)
                    and function.__module__ == module.__name__
                    and not name.startswith("__")
                ):
                    checks[function] = checked(function)
                    setattr(owner, name, checks[function])
    for module in [module for name, module in sys.modules.items() if name.startswith("mjxrl.")]:
        for name, value in list(vars(module).items()):
            if inspect.isfunction(value) and value in checks:
                setattr(module, name, checks[value])


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; each time it meets new shapes, it compares arguments and result with the annotations."""
    signature, met = inspect.signature(function), set()
    hints = functools.cache(lambda: typing.get_type_hints(function, include_extras=True))

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        if torch.compiler.is_compiling() or (key := tuple(_shapes((*args, *keywords.items())))) in met:
            return function(*args, **keywords)
        sizes: Sizes = {}
        for name, value in signature.bind(*args, **keywords).arguments.items():
            _compare(f"{function.__qualname__}: {name}", hints().get(name), value, sizes)
        result = function(*args, **keywords)
        _compare(f"{function.__qualname__}: what it returns", hints().get("return"), result, sizes)
        met.add(key)
        return result

    return call


def _shapes(value: Any) -> Iterator[Any]:
    """What tells calls apart that need a check of their own."""
    if isinstance(value, torch.Tensor):
        yield value.shape, value.dtype
    elif isinstance(value, tuple) or dataclasses.is_dataclass(value):
        for part in value if isinstance(value, tuple) else vars(value).values():
            yield from _shapes(part)
    else:
        yield value if isinstance(value, str | None) else type(value)


def _compare(what: str, hint: Any, value: Any, sizes: Sizes) -> None:
    """Raise unless the tensors in `value` are as `hint` says; learn the sizes of names that are new."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated and parts[0] is torch.Tensor:
        if not isinstance(value, torch.Tensor) or not _fits(parts[1], value, sizes):
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
            raise ShapeError(f"{what} is {found}, expected {parts[1]!r}" + (f" where {sizes}" if sizes else ""))
    elif origin is tuple and Ellipsis not in parts:
        for i, (part, x) in enumerate(zip(parts, value, strict=True)):
            _compare(f"{what}[{i}]", part, x, sizes)
    elif origin is dict:
        for key, x in value.items():
            _compare(f"{what}[{key!r}]", parts[1], x, sizes)
    elif isinstance(value, torch.Tensor):  # one of several that it may be
        for part in parts:
            _compare(what, part, value, sizes)
    elif hasattr(value, "_fields") or (dataclasses.is_dataclass(value) and hint is type(value)):
        for name, part in typing.get_type_hints(type(value), include_extras=True).items():
            _compare(f"{what}.{name}", part, getattr(value, name), sizes)


def _fits(words: str, tensor: torch.Tensor, sizes: Sizes) -> bool:
    names, kind = words.replace("...", "*_").split(), "float"
    if names and names[0] in KINDS:
        kind, *names = names
    shape: list[Any] = list(tensor.shape)
    for i in [i for i, name in enumerate(names) if name.startswith("*")]:
        end = max(i, len(shape) - (len(names) - i - 1))
        shape[i:end] = [tuple(shape[i:end])]
    return KINDS[kind](tensor.dtype) and len(shape) == len(names) and all(map(partial(_is, sizes), names, shape))


def _is(sizes: Sizes, name: str, size: Any) -> bool:
    if name.isdigit():
        return size == int(name)
    return name in ("_", "*_") or sizes.setdefault(name, size) == size
