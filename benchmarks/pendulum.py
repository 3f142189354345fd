"""Pendulum-v1: do SAC within 10 000 and TD3 within 15 000 transitions reach a mean return of -200, three seeds each?

    python benchmarks/pendulum.py --json benchmarks/results/pendulum.json

Every run is `mjxrl-train` as its flags in the report say, scored over 20 episodes in Gymnasium. Exits 1 if one fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjxrl.machine import devices, versions

GOAL = -200.0
STEPS = {"sac": 10_000, "td3": 15_000}
FLAGS = (
    "--env Pendulum-v1 --backend native --device cpu --preset laptop --num-envs 4 --eval.every 0 "
    "--eval.final-episodes 20 --log.every 2000 --checkpoint.no-replay"
)


@dataclass(frozen=True)
class Options:
    seeds: int = 3
    """Seeds of each algorithm."""
    threads: int = 1
    """CPU threads of the learner."""
    json: Path | None = None
    """Write the raw figures here."""


def main(options: Options) -> int:
    runs: list[dict[str, Any]] = []
    for algo, steps in STEPS.items():
        for seed in range(options.seeds):
            words = f"{FLAGS} --algo {algo} --total-steps {steps} --seed {seed} --learner.threads {options.threads}"
            with tempfile.TemporaryDirectory() as folder:
                started = time.monotonic()
                code = "import sys; from mjxrl.cli.train import main; sys.exit(main())"
                subprocess.run(
                    [sys.executable, "-c", code, *words.split(), "--run-dir", folder],
                    check=True,
                    stdout=subprocess.PIPE,
                )
                minutes = (time.monotonic() - started) / 60
                score = json.loads((Path(folder) / "final.json").read_text())["trained"]
            reached = score["mean_return"] >= GOAL
            runs.append({"algo": algo, "seed": seed, "flags": words, "minutes": minutes, "reached": reached, **score})
            print(f"{algo} seed {seed}: {score['mean_return']:.1f} {'PASS' if reached else 'FAIL'}", flush=True)
    if options.json:
        device = devices.device_name("cpu")
        report = {"goal": GOAL, "device": device, "versions": versions.versions(), "runs": runs}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(run["reached"] for run in runs) else 1


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
