"""A comparison shows each run's own numbers, with and without goals, scored or not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mjxrl.cli import compare
from mjxrl.reporting.comparison import markdown, summary, table
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import plot_comparison


def run(path: Path, seconds: float, trained: dict[str, Any] | None = None, **evaluated: float) -> Path:
    with MetricsLogger(path, total_steps=6000) as logger:
        logger.log(3000, {"time/elapsed_s": seconds / 2, "eval/return": -9.0})
        logger.log(
            6000, {"time/elapsed_s": seconds, "eval/return": -1.0, **{f"eval/{k}": v for k, v in evaluated.items()}}
        )
        logger.log(6500, {"train/return": -3.0})  # as older runs wrote it, without the time
    if trained:
        (path / "final.json").write_text(json.dumps({"steps": 6000, "trained": trained}))
    return path


def test_each_number_is_in_its_column(tmp_path: Path) -> None:
    reached = {"mean_return": -1.25, "std_return": 0.5, "success": 0.95, "distance": 0.0123, "action_change": 1.4}
    one = run(tmp_path / "one", 120.0, reached)
    other = run(tmp_path / "other", 30.0)  # interrupted: never scored
    headings, first, second = table([summary("SAC", one), summary("PPO", other)])
    assert headings == ["run", "success", "return", "final distance (mm)", "smoothness", "minutes", "env-steps/s"]
    assert first == ["SAC", "95%", "-1.2 ± 0.5", "12.3", "1.40", "2.0", "50"]
    assert second == ["PPO", "–", "–", "–", "–", "0.5", "200"]


def test_columns_without_a_number_are_left_out(tmp_path: Path) -> None:
    runs = [summary("SAC", run(tmp_path / "one", 60.0, {"mean_return": 3.0, "std_return": 0.0}))]
    assert markdown(table(runs)).splitlines() == [
        "| run | return | minutes | env-steps/s |",
        "| --- | ---: | ---: | ---: |",
        "| SAC | 3.0 ± 0.0 | 1.0 | 100 |",
    ]


def test_curves_are_drawn_over_steps_and_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    runs = {"SAC": run(tmp_path / "one", 120.0, success=0.5), "PPO": run(tmp_path / "other", 60.0)}
    plot_comparison(runs, tmp_path / "curves.png")
    [figure] = figures
    drawn = [{line.get_label(): line.get_xydata().tolist() for line in axes.lines} for axes in figure.axes]
    assert [axes.get_xlabel() for axes in figure.axes] == ["environment transitions", "minutes"] * 2
    assert drawn[0] == {"SAC": [[6000, 0.5]], "PPO": []} and drawn[1] == {"SAC": [[2, 0.5]], "PPO": []}
    assert drawn[2]["PPO"] == [[3000, -9], [6000, -1]] and drawn[3]["PPO"] == [[0.5, -9], [1, -1]]


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one, ppo, out = run(tmp_path / "one", 60.0), run(tmp_path / "ppo", 60.0), tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["mjxrl-compare", str(one), "--ppo", str(ppo), "--out", str(out)])
    assert compare.main() == 0
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [line.split(" | ")[0] for line in (out / "table.md").read_text().splitlines()[2:]] == [f"| {one}", "| PPO"]
    numbers = json.loads((out / "runs.json").read_text())
    assert numbers["PPO"]["evaluations"][-1] == {"step": 6000.0, "time/elapsed_s": 60.0, "eval/return": -1.0}
    assert "env-steps/s" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["mjxrl-compare", "--ppo", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stop:
        compare.main()
    errors = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(errors) == 2 and "RUN_DIRS" in errors[0] and "--ppo" in errors[1]
