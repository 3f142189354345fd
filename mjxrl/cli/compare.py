"""`mjxrl-compare`: runs in one table, and their learning curves over steps and minutes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from mjxrl.cli.parse import parse, refuse


@dataclass(frozen=True)
class Options:
    """Put the final scores of runs and what they took into a table, and draw their learning curves."""

    run_dirs: Positional[tuple[Path, ...]] = ()
    """Folders of the runs."""
    ppo: Path | None = None
    """Folder of a run of benchmarks/ppo.py, to be called PPO."""
    out: Path = Path("comparison")
    """Folder to write table.md, curves.png and runs.json, the numbers of both, into."""


def main() -> int:
    """Compare as the command line says; returns the exit status."""
    argv = sys.argv[1:]
    options, problems = parse(Options(), argv, "mjxrl-compare", positional="run_dirs")
    if not options.run_dirs:
        problems.append("RUN_DIRS: missing: allowed: folders of runs, as in mjxrl-compare runs/one runs/two")
    places = {str(path): path for path in options.run_dirs} | ({"PPO": options.ppo} if options.ppo else {})
    for name, path in places.items():
        if not (path / "metrics.csv").is_file():
            flag = "--ppo" if name == "PPO" else "RUN_DIRS"
            problems.append(f"{flag} {path}: allowed: folders of runs, with their metrics.csv")
    if problems:
        refuse(problems)
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from mjxrl.reporting import comparison
    from mjxrl.reporting.plotting import plot_comparison

    headings, *rows = cells = comparison.table([comparison.summary(name, path) for name, path in places.items()])
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "table.md").write_text(comparison.markdown(cells), encoding="utf-8")
        numbers = {name: comparison.raw(path) for name, path in places.items()}
        (options.out / "runs.json").write_text(json.dumps(numbers, separators=(",", ":")) + "\n", encoding="utf-8")
        plot_comparison(places, options.out / "curves.png")
    except OSError as error:
        refuse([f"--out {options.out}: cannot be written: {error.strerror}"])
    shown = Table(headings[0], box=box.SIMPLE)
    for heading in headings[1:]:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(shown)
    print(*(options.out / name for name in ("table.md", "curves.png", "runs.json")), sep="\n")
    return 0
