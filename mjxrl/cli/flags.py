"""Words of a command line as values of flags.

tyro reads each value, by the type of its field. It would stop at the first wrong word and draw a box around it; here
every wrong word is found in one go, and told in one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from mjxrl.config.rules import RULES, TASK_RULES, flag, problem


class Words(NamedTuple):
    """A command line, read."""

    values: dict[str, Any]
    """By the dotted path of their field, those that could be read."""
    loose: list[str]
    """Words that belong to no flag."""
    problems: list[str]
    """One line for each flag that is unknown or whose value cannot be read."""


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


def read(argv: list[str], flags: Mapping[str, tuple[str, Any]]) -> Words:
    """The words of a command line; `flags` is what `flags_of` gives. Of two values of a flag the last one counts."""
    words, rest = Words({}, [], []), list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            words.loose.append(word)
            continue
        name, equals, inline = word.partition("=")
        name, end = normal(name), next((i for i, w in enumerate(rest) if _is_flag(w)), len(rest))
        given, rest = ([inline], rest) if equals else (rest[:end], rest[end:])
        if name not in flags:
            words.problems.append(f"{' '.join([name, *given])}: no such flag{_like(name, flags)}")
            continue
        path, hint = flags[name]
        rule = RULES.get(path) or TASK_RULES.get(path)
        try:
            value, extra = (name == flag(path), given) if hint is bool else read_value(hint, given)
        except ValueError:
            words.problems.append(problem(name[2:], tuple(given), rule.allowed if rule else in_words(hint)))
            continue
        if hint is bool and equals:
            words.problems.append(problem(name[2:], inline, "no value, the flag alone"))
        elif path in TASK_RULES and not TASK_RULES[path].holds(value):  # the task itself would refuse it
            words.problems.append(problem(name[2:], value, TASK_RULES[path].allowed))
        else:
            words.values[path] = value
            words.loose.extend(extra)
    return words


def read_value(hint: Any, words: list[str]) -> tuple[Any, list[str]]:
    """What the first of `words` say for the type `hint`, and the others.

    Raises:
        ValueError: they are none.
    """
    holder = dataclasses.make_dataclass("Holder", [("value", hint)])
    single = [f"--value={words[0]}"] if len(words) == 1 else ["--value", *words]  # a single one may begin with a dash
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            held, rest = tyro.cli(holder, args=single, return_unknown_args=True)
    except SystemExit:
        raise ValueError(f"{words}: allowed: {in_words(hint)}") from None
    return held.value, rest


def applied(options: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """The dataclass instance `options` with `values`, which are by dotted path."""
    changes = {}
    for field in dataclasses.fields(options):
        path = prefix + field.name
        if path in values:
            changes[field.name] = values[path]
        elif any(each.startswith(path + ".") for each in values):
            changes[field.name] = applied(getattr(options, field.name), values, path + ".")
    return dataclasses.replace(options, **changes)


def split(argv: list[str], kind: type) -> tuple[list[str], list[str]]:
    """The words of the flags of a dataclass, each of which takes values, with those of help; and all others."""
    ours = {flag(field.name) for field in dataclasses.fields(kind)} | {"-h", "--help"}
    own: list[str] = []
    rest: list[str] = []
    target = rest
    for word in argv:
        if word.startswith("--") or word == "-h":
            target = own if normal(word.partition("=")[0]) in ours else rest
        target.append(word)
    return own, rest


def flags_given(argv: list[str]) -> set[str]:
    """The flags in `argv`."""
    return {normal(word.partition("=")[0]) for word in argv if word.startswith("--")}


def taken(argv: list[str], names: Iterable[str]) -> list[str]:
    """One line for each of those flags that `argv` gives to a program which sets them itself."""
    found = flags_given(argv)
    return [f"{name}: not here: allowed: the other flags of mjxrl-train" for name in names if name in found]


def last_value(argv: list[str], name: str) -> str | None:
    """The value that `argv` last gives for a flag, as `--name value` or `--name=value`."""
    return read(argv, {name: (name, str)}).values.get(name)


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
    names = {int: "a whole number", float: "a number", Path: "a path", type(None): "None"}
    return names.get(hint, "one value")


def normal(name: str) -> str:
    """A flag as we spell it."""
    return name.replace("_", "-")


def _like(name: str, flags: Mapping[str, Any]) -> str:
    """What may have been meant by a flag that does not exist, and what is allowed instead."""
    close = get_close_matches(name, flags, n=1)
    group = name.rpartition(".")[0]
    siblings = ", ".join(f for f in flags if group and f.startswith(group + "."))
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{hint}: allowed: {siblings or 'the flags that --help lists'}"


def _is_flag(word: str) -> bool:
    """Whether a word starts a flag, and is no value of the one before it: a dash, but no negative number."""
    if not word.startswith("-"):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False
