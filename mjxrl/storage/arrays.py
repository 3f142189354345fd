"""Env states of the numpy backends as flat named arrays, to be saved and put back bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mjxrl.errors import MisfitError


def arrays_of(state: Any, name: str = "") -> dict[str, np.ndarray]:
    """Copies of every array in `state`, by its path: named tuples, dicts, generators and simulators over `rows`."""
    match state:
        case np.ndarray():
            return {name: state.copy()}
        case np.random.Generator():
            return {name: np.frombuffer(json.dumps(state.bit_generator.state).encode(), np.uint8).copy()}
        case dict() | tuple():
            parts = [arrays_of(part, f"{name}.{key}") for key, part in _parts(state)]
            return {path: array for part in parts for path, array in part.items()}
        case _:
            return {name: state.rows.copy()}


def restored(state: Any, arrays: Mapping[str, np.ndarray], name: str = "") -> Any:
    """A state like `state` that holds what `arrays_of` gave.

    Raises:
        MisfitError: an array is missing or of another shape.
    """
    match state:
        case np.ndarray():
            return _fitting(name, arrays, state.shape).astype(state.dtype)
        case np.random.Generator():
            state.bit_generator.state = json.loads(bytes(_fitting(name, arrays, None)))
            return state
        case dict():
            return {key: restored(part, arrays, f"{name}.{key}") for key, part in state.items()}
        case tuple():
            return type(state)(*(restored(part, arrays, f"{name}.{key}") for key, part in _parts(state)))
        case _:
            state.rows[...] = _fitting(name, arrays, state.rows.shape)
            return state


def _parts(state: Any) -> list[tuple[str, Any]]:
    return list(state.items()) if isinstance(state, dict) else list(zip(state._fields, state, strict=True))


def _fitting(name: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...] | None) -> np.ndarray:
    if name not in arrays or (shape is not None and arrays[name].shape != shape):
        found = arrays[name].shape if name in arrays else "missing"
        raise MisfitError(f"the saved worlds do not fit this task: {name!r} is {found}, expected {shape}")
    return arrays[name]
