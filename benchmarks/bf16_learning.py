"""Does a policy learn as well from updates in bfloat16 as from float32? Equal seeds, equal numbers of updates.

    python benchmarks/bf16_learning.py --json benchmarks/results/bf16_learning.json

Every run is `mjxrl-train` as its flags in the report say, preset paper, scored by its periodic evaluations (their mean
is the area under the learning curve) and at its end in Gymnasium. Nothing is timed, so other work on the machine does
no harm. Runs that the JSON file already holds are not repeated.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjxrl.machine import devices, versions
from mjxrl.reporting.plotting import read_metrics

FLAGS = (
    "--backend native --device cpu --preset paper --num-envs 8 --eval.every 5000 --log.every 5000 "
    "--checkpoint.every 0 --checkpoint.no-replay --learner.threads 1"
)


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    env: str = "HalfCheetah-v5"
    """Task id."""
    algo: str = "td3"
    """td3 | sac."""
    seeds: int = 3
    """Runs of each precision, with seeds 0, 1, ..."""
    steps: int = 40_000
    """Transitions of a run, 10 000 of them random; one update each after those."""


def main(options: Options) -> None:
    if options.steps < 15_000:
        sys.exit(f"error: --steps {options.steps}: allowed: at least 15000, the first evaluation of a trained policy")
    runs: list[dict[str, Any]] = json.loads(options.json.read_text())["runs"] if options.json.exists() else []
    wanted = [
        {"env": options.env, "algo": options.algo, "steps": options.steps, "seed": seed, "bf16": bf16}
        for seed in range(options.seeds)
        for bf16 in (False, True)
    ]
    missing = [key for key in wanted if not any(key.items() <= run.items() for run in runs)]
    about = {"device": devices.device_name("cpu"), "versions": versions.versions()}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in as_completed([pool.submit(train, key) for key in missing]):
            runs.append(done.result())
            options.json.write_text(json.dumps({**about, "runs": runs}, indent=2) + "\n")
    for bf16 in (False, True):
        print("bfloat16" if bf16 else "float32")
        for name in ("mean_evaluation", "final"):
            these = [run for key in wanted for run in runs if key["bf16"] == bf16 and key.items() <= run.items()]
            of_seeds = [run[name] for run in these]
            spread = ", ".join(f"{value:.0f}" for value in of_seeds)
            print(f"  {name:16} {statistics.fmean(of_seeds):7.0f}  ({spread})")


def train(key: dict[str, Any]) -> dict[str, Any]:
    """One run in a process of its own: its evaluations, their mean, and its score in Gymnasium."""
    words = f"{FLAGS} --env {key['env']} --algo {key['algo']} --total-steps {key['steps']} --seed {key['seed']}"
    words += " --learner.bf16" if key["bf16"] else ""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from mjxrl.cli.train import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *words.split(), "--run-dir", folder]
        subprocess.run(command, check=True, stdout=subprocess.PIPE)
        rows = read_metrics(Path(folder))
        final = json.loads((Path(folder) / "final.json").read_text())["trained"]["mean_return"]
    evaluations = [row["eval/return"] for row in rows if "eval/return" in row and row["step"] > 10_000]
    return {
        **key,
        "flags": words,
        "evaluations": evaluations,
        "mean_evaluation": statistics.fmean(evaluations),
        "final": final,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
