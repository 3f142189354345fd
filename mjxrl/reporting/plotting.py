"""Learning curves from the metrics.csv of one or several runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

CURVES = {"eval/return": "evaluation (deterministic policy)", "train/return": "training episodes"}


def plot_runs(run_dirs: Sequence[Path], out: Path, title: str = "", *, minutes: bool = False) -> None:
    """Draw return against transitions for each run, or against minutes of wall-clock time, into the image `out`.

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
                steps, returns = zip(*points, strict=True)
                label = meaning if len(run_dirs) == 1 else f"{run_dir.name}, {meaning}"
                x = elapsed_minutes(rows, steps) if minutes else steps
                axes.plot(x, returns, linewidth=width, marker="." if width > 1 else None, label=label)
    xlabel = "minutes" if minutes else "environment transitions"
    axes.set(xlabel=xlabel, ylabel="return", title=title or ", ".join(p.name for p in run_dirs))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(out, dpi=120)


def plot_comparison(runs: Mapping[str, Path], out: Path) -> None:
    """Draw the evaluations of named runs over transitions and over minutes, successes too where there are some.

    Raises:
        FileNotFoundError: a run has no metrics.csv.
    """
    from matplotlib.figure import Figure

    curves = {name: read_metrics(run_dir) for name, run_dir in runs.items()}
    columns = [c for c in ("eval/success", "eval/return") if any(c in row for rows in curves.values() for row in rows)]
    figure = Figure(figsize=(11, 1 + 3.2 * len(columns)), layout="constrained")
    grid = figure.subplots(len(columns), 2, squeeze=False)
    for (by_steps, by_minutes), column in zip(grid, columns, strict=True):
        for name, rows in curves.items():
            steps = [row["step"] for row in rows if column in row]
            values = [row[column] for row in rows if column in row]
            by_steps.plot(steps, values, marker=".", label=name)
            by_minutes.plot(elapsed_minutes(rows, steps), values, marker=".", label=name)
        by_steps.set(xlabel="environment transitions", ylabel=column.removeprefix("eval/"))
        by_minutes.set(xlabel="minutes")
        for axes in (by_steps, by_minutes):
            axes.grid(alpha=0.3)
    if columns:
        grid[0, 0].legend()
    figure.savefig(out, dpi=120)


def elapsed_minutes(rows: Sequence[Mapping[str, float]], steps: Sequence[float]) -> np.ndarray:
    """When a run had collected so many transitions: wall-clock minutes, all its starts together, interpolated.

    A start shows by the clock's being earlier; one that took longer to its first line than the last one ran does not.
    """
    logged = np.array([(row["step"], row["time/elapsed_s"]) for row in rows if "time/elapsed_s" in row]).reshape(-1, 2)
    since = np.diff(logged[:, 1], prepend=0)
    since = np.where(since < 0, logged[:, 1], since)  # a resumed run counts from 0
    return np.interp(steps, [0, *logged[:, 0]], [0, *since.cumsum() / 60])


def plot_seeds(groups: Mapping[str, Sequence[Path]], out: Path, title: str = "") -> None:
    """Draw, for each group of runs that differ in their seed only, the mean return and its sample standard deviation.

    The evaluations are drawn, or the training episodes where a run has no evaluation. Between its points a run counts
    by linear interpolation; a curve covers the steps that all its runs cover.

    Raises:
        FileNotFoundError: a run has no metrics.csv.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, run_dirs in groups.items():
        steps, returns = common_curves([read_metrics(run_dir) for run_dir in run_dirs])
        if not len(steps):
            continue
        mean, spread = returns.mean(0), returns.std(0, ddof=min(1, len(returns) - 1))
        [line] = axes.plot(steps, mean, linewidth=2.0, label=f"{name}: mean ± std of {len(returns)} seeds")
        axes.fill_between(steps, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.plot(steps, returns.T, color=line.get_color(), alpha=0.4, linewidth=0.6)
    axes.set(xlabel="environment transitions", ylabel="return", title=title or ", ".join(groups))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(out, dpi=120)


def common_curves(runs: Sequence[Sequence[Mapping[str, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps, (T,), that all runs cover, and each run's return there, (runs, T); T is 0 where they share none."""
    column = "eval/return" if all(any("eval/return" in row for row in rows) for rows in runs) else "train/return"
    curves = [np.array([(row["step"], row[column]) for row in rows if column in row]).reshape(-1, 2) for rows in runs]
    if not curves or any(len(curve) == 0 for curve in curves):
        return np.empty(0), np.empty((len(curves), 0))
    low, high = max(curve[0, 0] for curve in curves), min(curve[-1, 0] for curve in curves)
    steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    steps = steps[(steps >= low) & (steps <= high)]
    return steps, np.stack([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; a row has only the columns that were written at its step.

    Raises:
        FileNotFoundError: the run has none.
    """
    with (run_dir / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
