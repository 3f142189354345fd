from __future__ import annotations

import sys
from typing import Any

import pytest

from mjxrl.checks import parity as checks
from mjxrl.cli import parity


@pytest.fixture
def argv(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    words = ["mjxrl-parity", "--env", "Pendulum-v1", "--states", "4"]
    monkeypatch.setattr(sys, "argv", words)
    return words


@pytest.mark.usefixtures("argv")
def test_a_task_that_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("native on cpu (") and "Pendulum-v1: equal" in said
    assert said.endswith("all within tolerance\n")


@pytest.mark.usefixtures("argv")
def test_one_that_is_not_is_named_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = checks.compare

    def off(*args: Any) -> list[checks.Report]:
        first, *others = compare(*args)
        return [first._replace(problems=["reward: 0.5 off"]), *others]

    monkeypatch.setattr(checks, "compare", off)
    assert parity.main() == 1
    said = capsys.readouterr().out
    assert "Pendulum-v1: OUT OF TOLERANCE" in said and "reward: 0.5 off" in said
    assert said.endswith("1 of 1 tasks out of tolerance\n")


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--states", "0"], "--states 0: allowed: a whole number, at least 1"),
        (["--env", "Nope-v5"], "--env Nope-v5: "),
        (["--env"], "--env: allowed: one or more of "),
        (["--physics.iterations", "0"], "--physics.iterations 0: allowed: "),
    ],
)
def test_refusals(words: list[str], start: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    argv += words
    with pytest.raises(SystemExit) as stop:
        parity.main()
    assert stop.value.code == 2 and capsys.readouterr().err.startswith(f"error: {start}")
