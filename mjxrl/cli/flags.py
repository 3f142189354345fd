"""Which words of a command line fit the flags, checked word by word before tyro sees them.

tyro stops at the first error and draws a box around it. Here every wrong word is found in one go and told in one line;
the words that are right are handed on.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from mjxrl.config.rules import RULES, TASK_RULES, flag, problem


class Words(NamedTuple):
    """A checked command line."""

    good: list[str]
    """Flags and their values, all of which fit."""
    loose: list[str]
    """Words that belong to no flag."""
    problems: list[str]
    """One line for each flag that is unknown or whose value does not fit."""


def flags_of(options: Any, prefix: str = "") -> dict[str, tuple[str, Any]]:
    """Every flag of a dataclass instance, with the dotted path and the type of its field."""
    flags: dict[str, tuple[str, Any]] = {}
    hints = get_type_hints(type(options))
    for field in dataclasses.fields(options):
        path, value = prefix + field.name, getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            flags |= flags_of(value, path + ".")
            continue
        flags[flag(path)] = path, hints[field.name]
        if hints[field.name] is bool:
            flags[flag(f"{prefix}no_{field.name}")] = path, bool
    return flags


def last_value(argv: list[str], name: str) -> str | None:
    """The value that `argv` last gives for a flag, as `--name value` or `--name=value`."""
    found = None
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name_given, equals, inline = word.partition("=")
        if _normal(name_given) == name:
            value = inline if equals else following
            found = value if equals or not _is_flag(value) else found
    return found


def check(argv: list[str], flags: Mapping[str, tuple[str, Any]]) -> Words:
    """Sort the words of a command line; `flags` is what `flags_of` gives."""
    words = Words([], [], [])
    i = 0
    while i < len(argv):
        word = argv[i]
        i += 1
        if not word.startswith("--"):
            words.loose.append(word)
            continue
        name, equals, inline = word.partition("=")
        name, end = _normal(name), i
        while end < len(argv) and not _is_flag(argv[end]):
            end += 1
        following = [inline] if equals else argv[i:end]
        if name not in flags:
            words.problems.append(f"{' '.join([name, *following])}: no such flag{_like(name, flags)}")
            i = i if equals else end
            continue
        path, hint = flags[name]
        values = following[: _most_values(hint)]
        i = i if equals else i + len(values)
        if hint is bool and equals:
            words.problems.append(f"{name} {inline}: allowed: no value, the flag alone")
        elif fits(hint, values) and (path not in TASK_RULES or TASK_RULES[path].holds(hint(values[0]))):
            words.good.extend([f"{name}={inline}"] if equals else [name, *values])
        else:
            rule = RULES.get(path) or TASK_RULES.get(path)
            allowed = rule.allowed if rule else in_words(hint)
            words.problems.append(problem(name[2:], tuple(values), allowed))
    return words


def fits(hint: Any, values: list[str]) -> bool:
    """Whether these words can be read as a value of the type `hint`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return all(fits(args[0], [v]) for v in values)
        return len(values) == len(args) and all(fits(a, [v]) for a, v in zip(args, values, strict=True))
    if hint is bool:
        return not values
    if len(values) != 1:
        return False
    if origin in (Union, types.UnionType):
        return any(fits(a, values) for a in args)
    if origin is Literal:
        return values[0] in args
    if hint is type(None):
        return values[0] == "None"
    if hint in (int, float):
        try:
            hint(values[0])
        except ValueError:
            return False
    return True  # a string, a path, or a type that only tyro knows


def in_words(hint: Any) -> str:
    """What may be given for the type `hint`, for a message."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        if args[-1] is Ellipsis:
            return f"any number of values, each {in_words(args[0])}"
        return f"{len(args)} values, each {in_words(args[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(in_words, args))
    if origin is Literal:
        return ", ".join(map(str, args))
    names = {int: "a whole number", float: "a number", bool: "no value", Path: "a path", type(None): "None"}
    return names.get(hint, "one value")


def _like(name: str, flags: Mapping[str, Any]) -> str:
    """What may have been meant by a flag that does not exist, and what is allowed instead."""
    close = get_close_matches(name, flags, n=1)
    group = name.rpartition(".")[0]
    siblings = ", ".join(f for f in flags if group and f.startswith(group + "."))
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{hint}: allowed: {siblings or 'the flags that --help lists'}"


def _most_values(hint: Any) -> int | None:
    """How many words a flag of this type takes at most; None: any number."""
    if get_origin(hint) is tuple:
        args = get_args(hint)
        return None if args[-1] is Ellipsis else len(args)
    return 0 if hint is bool else 1


def _is_flag(word: str) -> bool:
    """Whether a word starts a flag, and is no value of the one before it: a dash, but no negative number."""
    return word.startswith("-") and not fits(float, [word])


def _normal(name: str) -> str:
    return name.replace("_", "-")
