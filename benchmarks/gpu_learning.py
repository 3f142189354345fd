"""Learning curves against wall-clock time on one GPU, 4096 worlds, scored in Gymnasium; needs no network.

    python benchmarks/gpu_learning.py
    python benchmarks/gpu_learning.py --env Ant-v5 --algo td3 --seeds 3

Every run is `mjxrl-train` with the default settings for that many worlds, evaluated every million transitions; what is
kept of it, metrics.csv, config.json, final.json and the curve, goes to benchmarks/results/gpu/<device>-learning/. Runs
that are there already are not repeated, and one that was cut off goes on from its last checkpoint with the minutes that
it has left.

Nobody publishes these tasks against the clock on a GPU. What is printed beside our scores is FlashSAC's after a million
transitions of a CPU simulator, of version 4 of the tasks, whose rewards and observations are others: no like for like.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "scripts"))
import _checkout  # type: ignore[import-not-found]  # noqa: E402, F401 (for a checkout that is not installed)

from mjxrl.errors import UnavailableError  # noqa: E402
from mjxrl.machine import devices  # noqa: E402
from mjxrl.reporting.plotting import elapsed_minutes, plot_runs, read_metrics  # noqa: E402

MINUTES = {"Ant-v5": 10.0, "HalfCheetah-v5": 10.0, "Humanoid-v5": 30.0}
# FlashSAC (arXiv 2604.04539): mean return after 1M transitions, of these tasks
PUBLISHED = {
    "Ant-v5": ("Ant-v4", 7590),
    "HalfCheetah-v5": ("HalfCheetah-v4", 14465),
    "Humanoid-v5": ("Humanoid-v4", 12606),
}
EVERY = 1_000_000  # transitions between evaluations
KEPT = ("metrics.csv", "config.json", "final.json")


@dataclass(frozen=True)
class Options:
    env: tuple[str, ...] = tuple(MINUTES)
    """Task ids."""
    algo: tuple[str, ...] = ("td3", "sac")
    """Algorithms."""
    num_envs: int = 4096
    """Worlds."""
    minutes: float | None = None
    """Wall-clock time of a run; by default 10, with Humanoid 30."""
    seeds: int = 1
    """Runs of each, with seeds 0, 1, ..."""
    device: str = "cuda"
    """The CPU is for trying the script."""
    out: Path | None = None
    """The folder, if not that of the device in benchmarks/results/gpu."""


def main(options: Options) -> int:
    try:
        device = devices.device_name(devices.resolve_device(options.device))
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = options.out or HERE / "results" / "gpu" / f"{device.replace(' ', '-')}-learning"
    failed = 0
    for env in options.env:
        for algo in options.algo:
            for seed in range(options.seeds):
                kept = folder / f"{env}-{algo}-{options.num_envs}-{seed}"
                if not (kept / "final.json").exists():
                    failed += not train(env, algo, seed, options, kept)
                if (kept / "final.json").exists():
                    print(f"{env} {algo} seed {seed}: {in_words(env, kept)}", flush=True)
    return 1 if failed else 0


def in_words(env: str, kept: Path) -> str:
    """The score of a finished run, and what is known elsewhere."""
    final = json.loads((kept / "final.json").read_text(encoding="utf-8"))
    words = f"{final['trained']['mean_return']:.0f} in Gymnasium after {final['steps']:,} transitions"
    evaluated = [row for row in read_metrics(kept) if "eval/return" in row and row["step"] >= EVERY]
    words += f", {evaluated[0]['eval/return']:.0f} after {evaluated[0]['step']:,.0f}" if evaluated else ""
    if env in PUBLISHED:
        words += " (FlashSAC on {}, another task, after 1M transitions: {})".format(*PUBLISHED[env])
    return words


def train(env: str, algo: str, seed: int, options: Options, kept: Path) -> bool:
    """One run, or what is missing of it; whether it reached its end."""
    minutes = options.minutes or MINUTES.get(env, 10.0)
    run_dir = kept.parent / "runs" / kept.name  # which git ignores
    flags = f"--env {env} --algo {algo} --seed {seed} --num-envs {options.num_envs} --device {options.device} "
    flags += f"--total-steps {10**10} --eval.every {EVERY} --checkpoint.every {EVERY} --checkpoint.no-replay"
    words = [*flags.split(), "--run-dir", str(run_dir)]
    if any(run_dir.glob("checkpoints/step_*")):
        rows = read_metrics(run_dir)
        used = float(elapsed_minutes(rows, [row["step"] for row in rows])[-1])
        words, minutes = ["--resume", str(run_dir)], max(minutes - used, 0.1)
    elif run_dir.exists():
        shutil.rmtree(run_dir)  # nothing was saved there
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    program = HERE.parent / "scripts" / "train.py"
    if subprocess.run([sys.executable, str(program), *words, "--max-minutes", f"{minutes:g}"]).returncode:
        return False
    kept.mkdir(exist_ok=True)
    plot_runs([run_dir], kept / "curve.png", f"{env}, {algo}, {options.num_envs} worlds", minutes=True)
    for name in KEPT:  # final.json last: it says that the rest is there
        shutil.copy(run_dir / name, kept)
    shutil.rmtree(run_dir)
    return True


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
