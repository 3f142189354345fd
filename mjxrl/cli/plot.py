"""`mjxrl-plot`: learning curves of one or several runs in one picture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from mjxrl.cli.parse import parse, refuse


@dataclass(frozen=True)
class Options:
    """Draw the learning curves of runs."""

    run_dirs: Positional[tuple[Path, ...]] = ()
    """Folders of the runs."""
    out: Path = Path("curves.png")
    """The image to write; the ending decides its format (png, pdf, svg)."""
    minutes: bool = False
    """Draw against minutes of wall-clock time instead of transitions."""


def main() -> int:
    """Plot as the command line says; returns the exit status."""
    argv = sys.argv[1:]
    options, problems = parse(Options(), argv, "mjxrl-plot", positional="run_dirs")
    if not options.run_dirs:
        problems.append("RUN_DIRS: missing: allowed: folders of runs, as in mjxrl-plot runs/one runs/two")
    for run_dir in options.run_dirs:
        if not (run_dir / "metrics.csv").is_file():
            problems.append(f"RUN_DIRS {run_dir}: allowed: folders of runs, with their metrics.csv")
    if options.out.suffix not in (".png", ".pdf", ".svg"):
        problems.append(f"--out {options.out}: allowed: a name that ends in .png, .pdf or .svg")
    if problems:
        refuse(problems)
    from mjxrl.reporting.plotting import plot_runs

    plot_runs(options.run_dirs, options.out, minutes=options.minutes)
    print(options.out)
    return 0
