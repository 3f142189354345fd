"""The scaling curve as an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CURVES = {
    "bare_env_steps_per_s": "bare physics",
    "vector_env_env_steps_per_s": "vector env",
    "env_steps_per_s": "training",
}


def plot_scaling(rows: Sequence[dict[str, Any]], out: Path, title: str) -> None:
    """Draw env-steps/s against worlds, both logarithmic, into the image `out`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for column, label in CURVES.items():
        points = [(row["num_envs"], row[column]) for row in rows if column in row]
        if points:
            axes.loglog(*zip(*points, strict=True), marker=".", label=label)
    axes.set(xlabel="worlds", ylabel="env-steps/s", title=title)
    axes.set_xticks([row["num_envs"] for row in rows])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(out, dpi=120)
