from __future__ import annotations

import sys

import pytest

from mjxrl.checks import promises
from mjxrl.checks.promises import Outcome
from mjxrl.cli import verify

KEPT, SKIPPED, BROKEN = Outcome("a", "PASS", "1e-9"), Outcome("bb", "SKIP", "no GPU"), Outcome("c", "FAIL", "0.5")


@pytest.mark.parametrize(
    ("outcomes", "status", "last"),
    [
        ([KEPT], 0, "all promises kept"),
        ([KEPT, SKIPPED], 0, "all promises kept, 1 not checked"),
        ([KEPT, BROKEN, BROKEN], 1, "2 of 3 failed"),
    ],
)
def test_the_exit_status_says_whether_a_promise_is_broken(
    outcomes: list[Outcome], status: int, last: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(promises, "run_checks", lambda: outcomes)
    monkeypatch.setattr(sys, "argv", ["mjxrl-verify"])
    assert verify.main() == status
    first, *_, final = capsys.readouterr().out.splitlines()
    assert first.split() == ["PASS", "a", "1e-9"] and final == last


def test_flags_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mjxrl-verify", "--all"])
    with pytest.raises(SystemExit) as stop:
        verify.main()
    assert stop.value.code == 2 and "--all: no such flag" in capsys.readouterr().err
