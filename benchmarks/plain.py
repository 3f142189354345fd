"""What the plain command gives: `mjxrl-train --env … --algo … --max-minutes …`, and no other flag that it learns by.

    python benchmarks/plain.py --json benchmarks/results/plain.json

A score is the mean return of ten episodes in Gymnasium of the policy that the command says to take in the end, the last
or the best one, beside that of random actions. The seed is a flag so that a run can be repeated; it names nothing that
was tuned. Runs that the JSON file already holds are not repeated; after a change of preset start a new file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from pinned_runs import complete, groups_of, mean, opened, train

from mjxrl.machine import devices, versions

TASKS = (
    "HalfCheetah-v5",
    "Walker2d-v5",
    "Hopper-v5",
    "Pendulum-v1",
    "Reacher-v5",
    "InvertedDoublePendulum-v5",
    "Swimmer-v5",
    "Pusher-v5",
    "HumanoidStandup-v5",
)


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    env: tuple[str, ...] = TASKS
    """Task ids."""
    algo: tuple[str, ...] = ("sac", "td3")
    """Algorithms."""
    seeds: tuple[int, ...] = (20,)
    """Seeds of each."""
    minutes: float = 6.0
    """Wall-clock time of a run."""
    cores: int = 2
    """Cores of a run."""
    among: tuple[int, ...] = ()
    """Cores that may be used; as many runs go side by side as there are groups of them. Default: all."""


def main(options: Options) -> None:
    budget = {name: getattr(options, name) for name in ("minutes", "cores")}
    new = {"device": devices.device_name("cpu"), **budget, "versions": versions.versions()}
    report = opened(options.json, new, budget)
    keys = [
        {"env": env, "algo": algo, "seed": seed}
        for seed in options.seeds
        for env in options.env
        for algo in options.algo
    ]
    complete(report, options.json, keys, groups_of(options.cores, options.among), lambda *run: made(*run, options))
    for run in report["runs"]:
        score, random = mean(run.get("better_returns", run["returns"])), mean(run["random"])
        print(f"{run['env']:26} {run['algo']:4} {run['seed']:4} {run['steps']:8,} {score:9.1f}  random {random:9.1f}")


def made(key: dict[str, Any], cores: list[int], options: Options) -> dict[str, Any]:
    """One run."""
    words = ["--env", key["env"], "--algo", key["algo"], "--seed", str(key["seed"])]
    return train(cores, *words, "--max-minutes", str(options.minutes))


if __name__ == "__main__":
    main(tyro.cli(Options))
