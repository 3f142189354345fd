"""Learning curves against wall-clock time on one GPU, 4096 worlds, scored in Gymnasium; needs no network.

    python benchmarks/gpu_learning.py
    python benchmarks/gpu_learning.py --env Ant-v5 --algo td3 --seeds 3

Every run is `mjxrl-train` with the default settings for that many worlds; what is kept of it, metrics.csv, config.json,
final.json and the curve, goes to benchmarks/results/gpu/<device>-learning/. Runs that are there already are not
repeated. A process that a machine's limits cut off can be given again; it starts that run anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "scripts"))
import _checkout  # type: ignore[import-not-found]  # noqa: E402, F401 (for a checkout that is not installed)

from mjxrl.errors import UnavailableError  # noqa: E402
from mjxrl.machine import devices  # noqa: E402
from mjxrl.reporting.plotting import plot_runs  # noqa: E402

MINUTES = {"Ant-v5": 10.0, "HalfCheetah-v5": 10.0, "Humanoid-v5": 30.0}
AIMS = {"Ant-v5": 7590, "HalfCheetah-v5": 14465, "Humanoid-v5": 12606}  # FlashSAC, arXiv 2604.04539, 1M steps
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


def main(options: Options) -> int:
    try:
        device = devices.device_name(devices.resolve_device(options.device))
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = HERE / "results" / "gpu" / f"{device.replace(' ', '-')}-learning"
    failed = 0
    for env in options.env:
        for algo in options.algo:
            for seed in range(options.seeds):
                kept = folder / f"{env}-{algo}-{options.num_envs}-{seed}"
                if not (kept / "final.json").exists():
                    failed += not train(env, algo, seed, options, kept)
                if (kept / "final.json").exists():
                    score = json.loads((kept / "final.json").read_text())["trained"]["mean_return"]
                    print(f"{env} {algo} seed {seed}: {score:.0f} in Gymnasium (aim {AIMS.get(env, '-')})", flush=True)
    return 1 if failed else 0


def train(env: str, algo: str, seed: int, options: Options, kept: Path) -> bool:
    """One run; whether it reached its end."""
    minutes = options.minutes or MINUTES.get(env, 10.0)
    flags = f"--env {env} --algo {algo} --seed {seed} --num-envs {options.num_envs} --device {options.device} "
    flags += f"--max-minutes {minutes} --total-steps {10**10} --checkpoint.no-replay"
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch) / "run"
        command = [sys.executable, str(HERE.parent / "scripts" / "train.py"), *flags.split(), "--run-dir", str(run_dir)]
        if subprocess.run(command).returncode:
            return False
        kept.mkdir(parents=True, exist_ok=True)
        plot_runs([run_dir], kept / "curve.png", f"{env}, {algo}, {options.num_envs} worlds", minutes=True)
        for name in KEPT:  # final.json last: it says that the rest is there
            shutil.copy(run_dir / name, kept)
    return True


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
