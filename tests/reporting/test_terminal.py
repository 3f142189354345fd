from __future__ import annotations

import math
from pathlib import Path

import pytest

from mjxrl.reporting import terminal
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.terminal import Terminal


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MetricsLogger(tmp_path, total_steps=100_000) as logger:
        logger.log(50_000, {"time/env_steps_per_s": 1234.5, "time/updates_per_s": 99, "train/return": 12.34})
        logger.say("saved [1]")
    line, said = capsys.readouterr().out.splitlines()
    assert said == "saved [1]"
    for part in ("50,000 steps", "1,234 env-steps/s", "99 updates/s", "return    12.3", "0:00 left"):
        assert part in line


def test_time_left_follows_the_nearer_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    shown = Terminal(total_steps=1000, max_minutes=10, first_step=200)
    now[0] = 60.0
    assert shown.fraction_done(200) == pytest.approx(0.1)
    assert shown.fraction_done(600) == pytest.approx(0.5)
    assert shown.fraction_done(5000) == 1.0
    assert shown._parts(600, 0.5)[-1] == "1:00 left"
    assert shown._parts(200, 0.01)[-1] == "1:39:00 left"


def test_a_return_that_is_not_known_yet_is_a_dash() -> None:
    shown = Terminal(total_steps=1000)
    shown._latest = {"train/return": math.nan}
    assert shown._parts(0, 0.0)[3].split() == ["return", "-"]
