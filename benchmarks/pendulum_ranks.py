"""Does the same command learn alike on one process and on two? SAC on Pendulum-v1, equal seeds, equal transitions.

    python benchmarks/pendulum_ranks.py --json benchmarks/results/pendulum_ranks.json --plot docs/pictures/ranks.png

Every run is `mjxrl-train` as its flags in the report say, by itself or under torchrun, all its processes on one core.
Nothing is timed, so other work on the machine does no harm. Runs that the JSON file already holds are not repeated; of
one that it holds in two lengths the longer one is drawn, which begins as the other does.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import tyro
from pinned_runs import Row, complete, groups_of, mean, opened, train

from mjxrl.machine import devices, versions

GOAL = -200.0
FLAGS = (
    "--env Pendulum-v1 --algo sac --preset laptop --backend native --device cpu --learner.warmup-steps 500 "
    "--learner.actor-hidden 64 64 --learner.critic-hidden 64 64 --learner.critic-norm none --learner.batch-size 128 "
    "--learner.threads 1 --log.every 500 --eval.every 500 --eval.final-episodes 10"
)


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    ranks: tuple[int, ...] = (1, 2)
    """Numbers of processes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs with each number of them."""
    steps: int = 5000
    """Transitions of a run."""
    plot: Path | None = None
    """Draw the curves into this file."""


def main(options: Options) -> None:
    report = opened(options.json, {"device": devices.device_name("cpu"), "versions": versions.versions()}, ())
    keys = [{"ranks": ranks, "seed": seed, "steps": options.steps} for seed in options.seeds for ranks in options.ranks]

    def run(key: Row, cores: list[int]) -> Row:
        flags = f"{FLAGS} --total-steps {key['steps']} --seed {key['seed']}"
        return {"flags": flags, **train(cores, *flags.split(), ranks=key["ranks"])}

    complete(report, options.json, keys, groups_of(1), run)
    for made in sorted(report["runs"], key=lambda made: (made["ranks"], made["seed"])):
        reached = next((f"{step:.0f}" for step, _, score in made["curve"] if score >= GOAL), "never")
        who = f"{made['ranks']} ranks, seed {made['seed']}, {made['steps']} steps"
        print(f"{who}: {mean(made['returns']):.1f}; {GOAL:.0f} at {reached}")
    if options.plot:
        draw(report["runs"], options.plot)


def draw(runs: list[Row], out: Path) -> None:
    """The return of evaluations over transitions: the mean over seeds while there are all, and each seed fainter."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for ranks in sorted({run["ranks"] for run in runs}):
        those = sorted((run for run in runs if run["ranks"] == ranks), key=lambda run: run["steps"])
        longest = {run["seed"]: run["curve"] for run in those}
        shared = list(zip(*longest.values(), strict=False))
        means = [statistics.fmean(score for *_, score in points) for points in shared]
        label = f"{ranks} process{'es' * (ranks > 1)}, mean of {len(longest)} seeds"
        (line,) = axes.plot([points[0][0] for points in shared], means, label=label, linewidth=2)
        for curve in longest.values():
            steps, _, scores = zip(*curve, strict=True)
            axes.plot(steps, scores, color=line.get_color(), alpha=0.4, linewidth=0.8)
    axes.set(xlabel="transitions", ylabel="return of an evaluation", title="SAC on Pendulum-v1, the same command")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Options))
