"""`mjxrl-seeds`: train the same configuration under several seeds, one after the other, and draw the spread."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from mjxrl.cli.flags import last_value
from mjxrl.cli.parse import parse_config, refuse
from mjxrl.config.rules import RULES, problem
from mjxrl.storage.files import write_atomically
from mjxrl.storage.run_dir import default_name

HELP = """usage: mjxrl-seeds --seeds N [flags of mjxrl-train]

Train with seeds S, S + 1, .., S + N - 1, where S is --seed (default 0), into RUN_DIR/seed_<s>, one after the other;
then write RUN_DIR/seeds.json (final scores, their mean and standard deviation over seeds) and RUN_DIR/curve.png
(learning curves, mean and standard deviation). Seeds that are done are not trained again, and one that was interrupted
goes on.
"""
SEEDS = RULES["num_envs"]  # a whole number, at least 1


def main() -> int:
    """Train as the command line says; returns the first exit status that is not 0, or 0."""
    argv = sys.argv[1:]
    if not argv or "-h" in argv or "--help" in argv:
        print(HELP, end="")
        return 0
    folder, seeds, flags = parse_options(argv)
    for seed in seeds:
        run_dir = folder / f"seed_{seed}"
        if (run_dir / "final.json").is_file():
            print(f"seed {seed} is done: {run_dir}")
            continue
        goes_on = any((run_dir / "checkpoints").glob("step_*"))
        words = ["--resume", str(run_dir)] if goes_on else [*flags, "--seed", str(seed), "--run-dir", str(run_dir)]
        status = subprocess.run([sys.executable, "-c", TRAIN, *words]).returncode
        if status:
            return status
    report(folder, seeds)
    return 0


TRAIN = "import sys; from mjxrl.cli.train import main; sys.exit(main())"  # its own process: jax and torch start afresh


def parse_options(argv: list[str]) -> tuple[Path, list[int], list[str]]:
    """The common folder, the seeds, and the flags that every run gets; prints everything that is wrong and exits."""
    flags, given = _without(argv, "--seeds")
    count = int(given) if given is not None and given.isdecimal() else given
    problems = [] if SEEDS.holds(count) else [problem("seeds", given or "(missing)", SEEDS.allowed)]
    if last_value(flags, "--resume") is not None:
        problems.append("--resume: not with several seeds: the same command again goes on, with --run-dir")
    flags, folder = _without(flags, "--run-dir")
    if problems:
        refuse(problems)
    config = parse_config(flags, "mjxrl-seeds")
    flags, _ = _without(flags, "--seed")
    assert isinstance(count, int)
    seeds = list(range(config.seed, config.seed + count))
    return Path(folder) if folder else Path("runs") / f"{default_name(config)}-seeds", seeds, flags


def report(folder: Path, seeds: list[int]) -> None:
    """Mean and sample standard deviation of the final scores, and the curves."""
    from mjxrl.reporting.plotting import plot_seeds

    runs = [folder / f"seed_{seed}" for seed in seeds]
    scores = [
        json.loads((run / "final.json").read_text(encoding="utf-8")).get("trained", {}).get("mean_return")
        for run in runs
    ]
    known = [score for score in scores if score is not None]
    content = {"seeds": seeds, "mean_returns": scores}
    if known:
        spread = statistics.stdev(known) if len(known) > 1 else 0.0
        content |= {"mean": statistics.fmean(known), "std": spread}
        print(f"mean return over {len(known)} seeds: {content['mean']:.1f} ± {content['std']:.1f}")
    write_atomically(folder / "seeds.json", json.dumps(content, indent=2).encode() + b"\n")
    plot_seeds({folder.name: runs}, folder / "curve.png")
    print(f"learning curves: {folder / 'curve.png'}")


def _without(argv: list[str], flag: str) -> tuple[list[str], str | None]:
    """The words without a flag and its value, and that value, the last one if it is given often."""
    kept: list[str] = []
    skip = False
    for word in argv:
        name, equals, _ = word.partition("=")
        if skip and not word.startswith("--"):
            skip = False
            continue
        skip = name.replace("_", "-") == flag and not equals
        if name.replace("_", "-") != flag:
            kept.append(word)
    return kept, last_value(argv, flag)
