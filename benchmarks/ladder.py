"""What each setting is worth: variants x tasks x seeds, every run with a core to itself, means with intervals.

    python benchmarks/ladder.py --json benchmarks/results/ladder.json --minutes 10
    python benchmarks/ladder.py --json … --rows "R=--learner.critic-norm batch" "R3=--learner.critic-norm batch --…"

A variant is a row of `mjxrl-train`'s flags, on top of `--preset`. Runs that the JSON file already holds are not
repeated, so that the command can be interrupted and called again, with more variants, tasks and seeds too; after a
change of preset start a new file, as a variant is of whatever the preset is. Settings are chosen on seeds 100 to 102,
published on others, which nothing was tuned on. Intervals are bootstrapped over seeds; a score is the mean return of
the last episodes, in Gymnasium, also as a share of the task's goal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from pinned_runs import complete, groups_of, mean, opened, train
from scipy.stats import bootstrap

from mjxrl.machine import devices, versions

CROSS_Q = (
    "--learner.critic-norm batch --learner.half-gradient --learner.policy-delay 3 --learner.adam-beta1 0.5 "
    "--learner.actor-lr 1e-3 --learner.critic-lr 1e-3 --sac.temperature-lr 1e-3"
)
QUIET = "--sac.init-std 0.25 --sac.init-temperature 0.01 --sac.target-std 0.15 --learner.hold-noise 16"
SOON = "--learner.warmup-steps 1000"
VARIANTS = {
    "preset": "",
    "soon": SOON,
    "delay 3": f"{SOON} --learner.policy-delay 3",
    "delay 3, 1e-3": f"{SOON} --learner.policy-delay 3 --learner.actor-lr 1e-3 --learner.critic-lr 1e-3 "
    "--sac.temperature-lr 1e-3",
    "CrossQ": f"{SOON} {CROSS_Q}",
    "CrossQ, first sigma": f"{SOON} {CROSS_Q} --sac.init-std 0.25",
    "CrossQ, alpha0": f"{SOON} {CROSS_Q} --sac.init-temperature 0.01",
    "CrossQ, entropy": f"{SOON} {CROSS_Q} --sac.target-std 0.15",
    "CrossQ, held noise": f"{SOON} {CROSS_Q} --learner.hold-noise 16",
    "CrossQ, quiet": f"{SOON} {CROSS_Q} {QUIET}",
    "blocks": f"{SOON} --learner.policy-delay 3 --learner.blocks --learner.actor-hidden 64 64 "
    "--learner.critic-hidden 64 64",
}
GOALS = {"HalfCheetah-v5": 7000, "Hopper-v5": 2500, "Walker2d-v5": 2500, "Ant-v5": 2500, "Humanoid-v5": 1500}


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    rows: tuple[str, ...] = ()
    """Variants, "name=flags"; or the name of one that the script has. Default: all that it has."""
    env: tuple[str, ...] = tuple(GOALS)
    """Task ids."""
    algo: tuple[str, ...] = ("sac", "td3")
    """Algorithms."""
    seeds: tuple[int, ...] = (100, 101, 102)
    """Seeds of each."""
    minutes: float | None = None
    """Wall-clock time of a run; or"""
    steps: int | None = None
    """transitions of a run."""
    preset: str = "laptop"
    """What the variants start from."""
    eval_every: int = 0
    """Transitions between evaluations, which give curves and take time; 0: none."""
    episodes: int = 10
    """Episodes that the policy is scored by in the end."""
    cores: int = 1
    """Cores of a run."""
    among: tuple[int, ...] = ()
    """Cores that may be used; as many runs go side by side as there are groups of them. Default: all."""


def main(options: Options) -> None:
    if (options.minutes is None) == (options.steps is None):
        sys.exit("error: --minutes, --steps: allowed: one of the two")
    variants = dict(row.partition("=")[::2] for row in options.rows) or VARIANTS
    variants = {name: flags or VARIANTS.get(name, "") for name, flags in variants.items()}
    budget = {
        name: getattr(options, name) for name in ("minutes", "steps", "preset", "eval_every", "episodes", "cores")
    }
    new = {"device": devices.device_name("cpu"), **budget, "versions": versions.versions()}
    report = opened(options.json, new, budget)
    keys = [
        {"variant": name, "flags": flags, "algo": algo, "env": env, "seed": seed}
        for seed in options.seeds
        for env in options.env
        for algo in options.algo
        for name, flags in variants.items()
    ]
    groups = groups_of(options.cores, options.among)
    complete(report, options.json, keys, groups, lambda key, cores: made(key, options, cores))
    print(table(report["runs"]))


def made(key: dict[str, Any], options: Options, cores: list[int]) -> dict[str, Any]:
    """One run of a variant. A SAC flag in its row says nothing to TD3, and the other way round."""
    words = ["--env", key["env"], "--algo", key["algo"], "--seed", str(key["seed"]), "--device", "cpu"]
    words += ["--preset", options.preset, *key["flags"].split()]
    words += ["--max-minutes", str(options.minutes)] if options.minutes else []
    words += ["--total-steps", str(options.steps or 10**9)]
    return train(cores, *words, "--eval.every", str(options.eval_every), "--eval.final-episodes", str(options.episodes))


def table(runs: list[dict[str, Any]]) -> str:
    """A line for each variant and algorithm: each task's mean over seeds, and the mean share of the goals."""
    scores: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for run in runs:
        of_task = scores.setdefault((run["variant"], run["algo"]), {}).setdefault(run["env"], {})
        of_task[run["seed"]] = mean(run["returns"])
    tasks = list(dict.fromkeys(run["env"] for run in runs))
    lines = [["variant", "algorithm", *tasks, "share of goals"]]
    for (variant, algo), found in scores.items():
        cells = [interval(list(found.get(task, {}).values()), "{:.0f}") for task in tasks]
        shares = [
            [score / GOALS[task] for score in of_task.values()] for task, of_task in found.items() if task in GOALS
        ]
        lines.append([variant, algo, *cells, mean_share(shares) if len(shares) == len(tasks) else "–"])
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def interval(values: list[float], form: str) -> str:
    """Mean, and its 95 % interval where there are two values or more."""
    if not values:
        return "–"
    said = form.format(mean(values))
    if len(values) == 1:
        return f"{said} (1)"
    found = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    return f"{said} [{form.format(found.low)}, {form.format(found.high)}] ({len(values)})"


def mean_share(shares: list[list[float]]) -> str:
    """Mean over tasks of the means over seeds, seeds drawn again within each task."""
    said = f"{mean([mean(of_task) for of_task in shares]):.2f}"
    if min(map(len, shares)) == 1:
        return said

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([sample.mean(axis) for sample in samples], 0)

    found = bootstrap(shares, statistic, method="percentile", rng=0).confidence_interval
    return f"{said} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main(tyro.cli(Options))
