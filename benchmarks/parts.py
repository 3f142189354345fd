"""What each part of TD3 and SAC is for: Pendulum-v1 with one part changed at a time, three seeds each.

    python benchmarks/parts.py --json benchmarks/results/parts.json --plot docs/pictures/parts.png

Every run is `mjxrl-train` as its flags in the report say. Nothing is timed, so other work on the machine does no harm.
Runs that the JSON file already holds are not repeated; `--seeds 0` only draws.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjxrl.machine import devices, versions
from mjxrl.reporting.plotting import read_metrics

STEPS = {"td3": 10_000, "sac": 5_000}  # as many as each needs to learn the task
FLAGS = (
    "--env Pendulum-v1 --preset paper --backend native --device cpu --num-envs 4 --learner.warmup-steps 500 "
    "--learner.actor-hidden 64 64 --learner.critic-hidden 64 64 --learner.batch-size 128 --learner.threads 1 "
    "--learner.gamma 0.98 --learner.actor-lr 1e-3 --learner.critic-lr 1e-3 --sac.temperature-lr 1e-3 "
    "--log.every 500 --eval.every 500 --eval.final-episodes 0 --checkpoint.every 0 --checkpoint.no-replay"
)
BOTH = {"as it is": "", "one critic": "--learner.num-critics 1"}
TAU = {f"tau {tau}": f"--learner.tau {tau}" for tau in (0.001, 0.01, 1)}
FIXED = {
    f"temperature fixed at {alpha}": f"--sac.no-auto-temperature --sac.init-temperature {alpha}"
    for alpha in (0.2, 0.1, 0.01, 0.001)
}
PARTS: dict[str, dict[str, str]] = {
    "td3": {**BOTH, "no smoothing": "--td3.target-noise 0", "no delay": "--learner.policy-delay 1"},
    "sac": {**BOTH, **TAU, **FIXED, "target entropy 0.5": "--sac.target-entropy 0.5"},
}
PANELS = {  # the part, and the variants beside "as it is" in its panel
    "critics": ["one critic"],
    "target networks": list(TAU),
    "smoothing and delay": ["no smoothing", "no delay"],
    "temperature": list(FIXED),
    "target entropy": ["target entropy 0.5"],
}
COLUMNS = ("eval/return", "learner/q", "learner/target_q", "learner/critic_loss", "learner/entropy")
COLUMNS += ("learner/temperature",)


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    seeds: int = 3
    """Runs of each variant, with seeds 0, 1, ..."""
    plot: Path | None = None
    """Draw the curves into this file."""


def main(options: Options) -> None:
    runs: list[dict[str, Any]] = json.loads(options.json.read_text())["runs"] if options.json.exists() else []
    for seed in range(options.seeds):
        for algo, variants in PARTS.items():
            for variant, flags in variants.items():
                key = {"algo": algo, "variant": variant, "seed": seed}
                if any(key.items() <= run.items() for run in runs):
                    continue
                runs.append(
                    key | train(f"{FLAGS} --total-steps {STEPS[algo]} --algo {algo} --seed {seed} {flags}".strip())
                )
                write(options.json, runs)
                print(
                    f"{algo} seed {seed}, {variant}: {statistics.fmean(runs[-1]['eval/return'][-4:]):.0f}", flush=True
                )
    if options.plot:
        draw(runs, options.plot)


def train(words: str) -> dict[str, Any]:
    """One run in a process of its own: its flags, and its columns at each line of metrics."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from mjxrl.cli.train import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *words.split(), "--run-dir", folder]
        subprocess.run(command, check=True, stdout=subprocess.PIPE)
        rows = read_metrics(Path(folder))
    return {"flags": words, "step": [int(row["step"]) for row in rows]} | {
        name: [round(row[name], 4) if name in row else None for row in rows]
        for name in COLUMNS
        if any(name in row for row in rows)
    }


def write(path: Path, runs: list[dict[str, Any]]) -> None:
    """JSON with a line for each run."""
    about = {"device": devices.device_name("cpu"), "versions": versions.versions()}
    lines = ",\n".join(json.dumps(run) for run in runs)
    path.write_text(f'{{"about": {json.dumps(about)},\n"runs": [\n{lines}\n]}}\n')


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """A panel for each part: returns of evaluations, the mean over seeds and, shaded, from the worst to the best."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        (algo, part, ["as it is", *(name for name in names if name in PARTS[algo])])
        for part, names in PANELS.items()
        for algo in PARTS
        if any(name in PARTS[algo] for name in names)
    ]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharey=True, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (algo, part, variants) in zip(axes.flat, panels, strict=False):
        for variant in variants:
            these = [run for run in runs if (run["algo"], run["variant"]) == (algo, variant)]
            returns = [run["eval/return"] for run in these]
            mean = [statistics.fmean(at) for at in zip(*returns, strict=True)]
            color = "black" if variant == "as it is" else None
            (line,) = axis.plot(these[0]["step"], mean, label=variant, color=color, linewidth=1.5)
            low, high = ([pick(at) for at in zip(*returns, strict=True)] for pick in (min, max))
            axis.fill_between(these[0]["step"], low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axis.set_title(f"{algo.upper()}: {part}", fontsize=10)
        axis.legend(fontsize=7, loc="lower right")
        axis.grid(alpha=0.2)
    figure.supxlabel("transitions")
    figure.supylabel("return of an evaluation")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(tyro.cli(Options))
