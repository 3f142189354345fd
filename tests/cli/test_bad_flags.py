"""Hundreds of wrong command lines: each exits with 2, one line for every wrong flag, no traceback and no folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mjxrl.cli.flags import flags_of, read_value
from mjxrl.cli.parse import parse_config
from mjxrl.config import Config
from mjxrl.config.rules import RULES

WORDS = [
    "",
    "x",
    "-1",
    "-0.5",
    "0",
    "0.5",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 25,
    "None",
    "True",
    "ppo",
    "8,8",
]
UNKNOWN = ["--lerner.gamma 1", "--num-env 3", "--task.no-such-thing 1", "--learner 5", "--sac.gamma=0.9", "lost", "-v"]
SWITCHES = [
    "--learner.normalize-obs=yes",
    "--checkpoint.replay=no",
    "--task.reset-noise-scale x",
    "--run-dir /proc/run",
]


def refuses(path: str, hint: Any, word: str) -> bool:
    try:
        value, _ = read_value(hint, [word])
    except ValueError:
        return True
    return path in RULES and not RULES[path].holds(value)


def wrong_words() -> dict[str, list[str]]:
    """For each flag that is not free to be anything the words that it must refuse."""
    flags = {name: (path, hint) for name, (path, hint) in flags_of(Config()).items() if hint is not bool}
    wrong = {
        name: [word for word in WORDS if refuses(path, hint, word)]
        for name, (path, hint) in flags.items()
        if path != "task"
    }
    return {name: words for name, words in wrong.items() if words}


WRONG = wrong_words()
bad_flags = st.dictionaries(st.sampled_from(sorted(WRONG)), st.integers(0, 10**6), min_size=1, max_size=6)
extras = st.lists(st.sampled_from([*UNKNOWN, *SWITCHES]), max_size=2, unique=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def refused(argv: list[str], folder: Path) -> list[str]:
    """The lines that `argv` is refused with."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder):  # noqa: SIM117
        with pytest.raises(SystemExit) as stop:
            parse_config(argv)
    assert stop.value.code == 2 and out.getvalue() == "", argv
    assert list(folder.iterdir()) == []
    lines = err.getvalue().splitlines()
    assert lines and all(line.startswith("error: ") for line in lines), (argv, lines)
    return [line.removeprefix("error: ") for line in lines]


def check(chosen: dict[str, int], extra: list[str], folder: Path) -> None:
    given_words = {name: WRONG[name][pick % len(WRONG[name])] for name, pick in chosen.items()}
    extra = sorted(extra, key=lambda words: words.startswith("-"))  # an unknown flag takes the loose words after it
    argv = [f"{name}={word}" for name, word in given_words.items()] + [word for e in extra for word in e.split()]
    lines = refused([*argv, *([] if "--device" in chosen else ["--device", "cpu"])], folder)
    firsts = [line.split(" ")[0].rstrip(":") for line in lines]
    for name in given_words:
        assert firsts.count(name) == 1, (argv, lines)
    for words in extra:
        assert firsts.count(words.split("=")[0].split()[0]) == 1, (argv, lines)
    assert len(lines) <= len(given_words) + len(extra) + 1, (argv, lines)  # one may be on the replay and the batch


def test_every_flag_with_a_rule_or_a_choice_has_something_to_refuse() -> None:
    flags = flags_of(Config())
    assert {name for name, (path, hint) in flags.items() if path in RULES or get_origin(hint) is Literal} <= set(WRONG)
    assert dict.fromkeys(("--algo", "--learner.critic"), WORDS).items() <= WRONG.items()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(bad_flags, extras)
def test_wrong_flags_get_one_line_each(folder: Path, chosen: dict[str, int], extra: list[str]) -> None:
    check(chosen, extra, folder)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400, deadline=None)
@given(bad_flags, extras)
def test_wrong_flags_get_one_line_each_at_length(folder: Path, chosen: dict[str, int], extra: list[str]) -> None:
    check(chosen, extra, folder)
