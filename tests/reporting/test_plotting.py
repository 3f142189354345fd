"""Learning curves are drawn from what metrics.csv holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mjxrl.cli import plot
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import elapsed_minutes, plot_runs, read_metrics


def run(path: Path) -> Path:
    with MetricsLogger(path, total_steps=30) as logger:
        logger.log(10, {"train/return": 1.0})
        logger.log(20, {"train/return": 2.0, "eval/return": 5.0})
        logger.log(30, {"eval/return": 7.0})
    return path


def test_rows_have_only_what_was_written(tmp_path: Path) -> None:
    rows = read_metrics(run(tmp_path / "run"))
    assert rows[0] == {"step": 10.0, "train/return": 1.0}
    assert rows[2] == {"step": 30.0, "eval/return": 7.0}


def test_curves_hold_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn = {}
    original = Axes.plot

    def noted(self: Axes, x: tuple, y: tuple, **options: object) -> object:
        drawn[options["label"]] = (x, y)
        return original(self, x, y, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "plot", noted)
    plot_runs([run(tmp_path / "run")], tmp_path / "curve.png")
    assert drawn["evaluation (deterministic policy)"] == ((20.0, 30.0), (5.0, 7.0))
    assert drawn["training episodes"] == ((10.0, 20.0), (1.0, 2.0))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_minutes_go_on_over_a_resume() -> None:
    rows = [
        {"step": 10.0, "time/elapsed_s": 60.0},
        {"step": 20.0, "time/elapsed_s": 120.0},
        {"step": 25.0, "eval/return": 1.0},
        {"step": 30.0, "time/elapsed_s": 30.0},
    ]
    assert elapsed_minutes(rows, [5, 10, 25, 30]).tolist() == [0.5, 1, 2.25, 2.5]


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both.svg"
    monkeypatch.setattr(
        sys, "argv", ["mjxrl-plot", str(run(tmp_path / "a")), str(run(tmp_path / "b")), "--out", str(out), "--minutes"]
    )
    assert plot.main() == 0 and out.is_file()
    monkeypatch.setattr(sys, "argv", ["mjxrl-plot", str(tmp_path / "nowhere"), "--out", "x.exe"])
    with pytest.raises(SystemExit) as stop:
        plot.main()
    errors = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(errors) == 2 and "nowhere" in errors[0] and "x.exe" in errors[1]
