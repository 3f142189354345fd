"""Runs side by side: what each policy scores in the end, and what it took."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mjxrl.reporting.plotting import elapsed_minutes, read_metrics


class Summary(NamedTuple):
    """One run."""

    name: str
    score: Mapping[str, Any]
    """Of the trained policy, from final.json; empty for a run that was not scored."""
    minutes: float
    """Of wall-clock time up to the last line of metrics, all starts together."""
    steps: float
    """Transitions up to there."""


def _number(column: str, form: str, scale: float = 1.0) -> Callable[[Summary], str | None]:
    def cell(run: Summary) -> str | None:
        value = run.score.get(column)
        return None if value is None else form.format(scale * value)

    return cell


def _return(run: Summary) -> str | None:
    mean = run.score.get("mean_return")
    return None if mean is None else f"{mean:.1f} ± {run.score['std_return']:.1f}"


# what a column is headed with, and a run's cell in it; smoothness is the mean ‖a_t − a_(t−1)‖, the less the smoother
COLUMNS: dict[str, Callable[[Summary], str | None]] = {
    "success": _number("success", "{:.0%}"),
    "return": _return,
    "final distance (mm)": _number("distance", "{:.1f}", 1000),
    "smoothness": _number("action_change", "{:.2f}"),
    "minutes": lambda run: f"{run.minutes:.1f}",
    "env-steps/s": lambda run: f"{run.steps / (60 * run.minutes):,.0f}" if run.minutes else None,
}


def summary(name: str, run_dir: Path) -> Summary:
    """What a run's metrics.csv and final.json say.

    Raises:
        FileNotFoundError: it has no metrics.csv.
    """
    rows, final = read_metrics(run_dir), run_dir / "final.json"
    steps = max((row["step"] for row in rows if "time/elapsed_s" in row), default=0.0)
    score = json.loads(final.read_text(encoding="utf-8")).get("trained", {}) if final.is_file() else {}
    return Summary(name, score, float(elapsed_minutes(rows, [steps])[0]), steps)


def raw(run_dir: Path) -> dict[str, Any]:
    """All that a comparison rests on, for a file: the run's configuration, its final scores, its evaluations.

    Raises:
        FileNotFoundError: it has no metrics.csv.
    """
    kept = {}
    for name in ("config.json", "final.json"):
        if (run_dir / name).is_file():
            kept[name.removesuffix(".json")] = json.loads((run_dir / name).read_text(encoding="utf-8"))
    shown = ("step", "time/elapsed_s")
    rows = [{k: v for k, v in row.items() if k in shown or k.startswith("eval/")} for row in read_metrics(run_dir)]
    return {**kept, "evaluations": [row for row in rows if "eval/return" in row]}


def table(runs: Sequence[Summary]) -> list[list[str]]:
    """Headings, then a row of cells for each run; columns that none has a number for are left out."""
    cells = {heading: [cell(run) for run in runs] for heading, cell in COLUMNS.items()}
    shown = {heading: column for heading, column in cells.items() if any(column)}
    rows = [[run.name, *(column[i] or "–" for column in shown.values())] for i, run in enumerate(runs)]
    return [["run", *shown], *rows]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table as Markdown has it."""
    rule = ["---"] + ["---:"] * (len(table[0]) - 1)
    return "".join(f"| {' | '.join(row)} |\n" for row in [table[0], rule, *table[1:]])
