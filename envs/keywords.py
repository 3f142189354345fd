"""The keywords of a task: fields of a frozen dataclass, however a subclass is written, with values of their types."""

from __future__ import annotations

import dataclasses
import inspect
import os
import types
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from mjxrl.errors import KeywordError

# Keywords of Gymnasium's MuJoCo environments (gymnasium/envs/mujoco/mujoco_env.py) that only say how to draw one world
_RENDERING = (
    "render_mode",
    "width",
    "height",
    "camera_id",
    "camera_name",
    "default_camera_config",
    "max_geom",
    "visual_options",
)
_COUNTS = ("frame_skip", "max_episode_steps")  # what C and the programs hold in 32 bits


def take_defaults(cls: type) -> None:
    """Make each attribute of a new class that is a keyword of its parents the keyword's default.

    dataclasses see annotated attributes only: a bare `frame_skip = 8` would change nothing. One annotated as a ClassVar
    is no keyword any more, except for the time limit, which was a ClassVar before it was a keyword.
    """
    inherited: dict[str, Any] = {}
    for parent in reversed(cls.__bases__):
        inherited |= get_type_hints(parent)
    own = inspect.get_annotations(cls)
    for name in vars(cls):
        hint = inherited.get(name, ClassVar)
        keyword = hint is not ClassVar and get_origin(hint) is not ClassVar
        if keyword and (name not in own or name == "max_episode_steps"):
            own[name] = hint
    cls.__annotations__ = own


def as_dataclass(cls: type) -> None:
    """Apply `@dataclass(frozen=True)` to a class that goes without, once all decorators have had their chance."""
    if "__dataclass_fields__" not in vars(cls):
        dataclasses.dataclass(frozen=True)(cls)


def refuse_unknown(cls: type, given: Mapping[str, Any]) -> None:
    """Raise KeywordError for a keyword that the task does not have; the message names it and says why."""
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in given.keys() - known:
        if name in _RENDERING:
            raise KeywordError(f"{cls.__name__}: {name} is for rendering: give it to Gymnasium's own environment")
        close = get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise KeywordError(f"{cls.__name__} has no keyword {name}{hint}: allowed are {', '.join(known)}")


def settle(task: Any) -> None:
    """Check the values of a new task, and make its relative paths absolute: the working folder may change.

    Raises:
        KeywordError: a value is not of its keyword's type; a count is not positive, or beyond 32 bits.
    """
    name, hints = type(task).__name__, get_type_hints(type(task))
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if not _fits(hints[field.name], value):
            wanted = inspect.formatannotation(hints[field.name])
            raise KeywordError(f"{name}: {field.name} must be {wanted}, not {value!r}")
        if isinstance(value, Path) or (field.name == "xml_file" and value.startswith((".", "~"))):
            path = os.path.abspath(os.path.expanduser(value))
            object.__setattr__(task, field.name, type(value)(path))  # frozen for everybody else
    for count in _COUNTS:
        if not 1 <= getattr(task, count) < 2**31:
            raise KeywordError(f"{name}: {count} must be 1 or more, not {getattr(task, count)}")


def given(task: Any) -> dict[str, Any]:
    """All keywords with their values."""
    return {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}


def changed(task: Any) -> dict[str, Any]:
    """The keywords whose values are not the defaults of the task's class."""
    changes = {}
    for field in dataclasses.fields(task):
        made = field.default_factory is not dataclasses.MISSING
        default, value = field.default_factory() if made else field.default, getattr(task, field.name)
        if value != default:
            changes[field.name] = value
    return changes


def _fits(hint: Any, value: Any) -> bool:
    """Whether `value` may be given for the type `hint`; types that no task of ours uses are let through."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is tuple and Ellipsis not in args:
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(args)
            and all(_fits(arg, item) for arg, item in zip(args, value, strict=True))
        )
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return True
