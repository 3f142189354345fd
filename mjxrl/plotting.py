"""Learning curves from the metrics.csv of one or several runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

CURVES = {"eval/return": "evaluation (deterministic policy)", "train/return": "training episodes"}


def plot_runs(run_dirs: Sequence[Path], out: Path, title: str = "") -> None:
    """Draw return against transitions for each run into the image `out`.

    Raises:
        FileNotFoundError: a run has no metrics.csv.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for run_dir in run_dirs:
        rows = read_metrics(run_dir)
        for (column, meaning), width in zip(CURVES.items(), (2.0, 0.8), strict=True):
            points = [(row["step"], row[column]) for row in rows if column in row]
            if points:
                label = meaning if len(run_dirs) == 1 else f"{run_dir.name}, {meaning}"
                axes.plot(*zip(*points, strict=True), linewidth=width, marker="." if width > 1 else None, label=label)
    axes.set(xlabel="environment transitions", ylabel="return", title=title or ", ".join(p.name for p in run_dirs))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(out, dpi=120)


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; a row has only the columns that were written at its step."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
