"""When a run ends: its minutes count from the first step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mjxrl.learners import Learner
from mjxrl.training.stopping import Stop
from tests.helpers.small_runs import rows_of, small, train


class Clock:
    """The real one, and what is added to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real, self.added = time.monotonic, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: real() + self.added)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_minutes_count_from_the_beginning_that_is_told(clock: Clock) -> None:
    stop, endless = Stop(max_minutes=10), Stop()
    clock.added += 3600
    assert not stop
    stop.begin()
    endless.begin()
    clock.added += 500
    assert not stop
    clock.added += 101
    assert stop and not endless
    assert stop.signal is None and stop.exit_status == 0


def test_what_compiling_takes_is_none_of_a_runs_minutes(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(self: Learner, replay: Any) -> None:
        clock.added += 3600

    monkeypatch.setattr(Learner, "warm_up", slow)
    path = train(small("td3", run_dir=tmp_path / "run", max_minutes=30))
    assert rows_of(path)[-1]["step"] == "640"
    first = next(line for line in capsys.readouterr().out.splitlines() if "env-steps/s" in line)
    assert first.endswith("left") and int(first.split()[-2].split(":")[0]) < 30  # minutes, not hours
