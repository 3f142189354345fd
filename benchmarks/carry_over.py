"""Does a policy score the same everywhere? Its mean return on each backend against Gymnasium's own environment.

    python benchmarks/carry_over.py runs/cheetah runs/ant --episodes 32 --backends native jax warp --json OUT.json

A difference is quoted in standard errors of the difference between the two means; 3 is what is tolerated.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from mjxrl.machine import devices, settings, versions

TOLERATED = 3.0  # standard errors


@dataclass(frozen=True)
class Options:
    run_dirs: Positional[tuple[Path, ...]]
    """Folders of runs."""
    episodes: int = 32
    """Episodes on each."""
    backends: tuple[str, ...] = ("native", "jax")
    """Compared with Gymnasium."""
    which: str = "latest"
    """Checkpoint: latest, best or step_<n>."""
    device: str = "cpu"
    """Where MJX simulates: cpu | cuda."""
    json: Path | None = None
    """Write the raw returns here."""


def main(options: Options) -> int:
    settings.set_up(options.device, "jax")
    settings.keep_mujoco_log_out_of_the_way()
    from mjxrl.policy.evaluation import evaluate_run
    from mjxrl.storage.run_dir import load_config

    report, worst = [], 0.0
    for run_dir in options.run_dirs:
        env = load_config(run_dir).env
        results = {
            backend: evaluate_run(
                run_dir, episodes=options.episodes, backend=backend, seed=1, which=options.which, device=options.device
            )
            for backend in ("gymnasium", *options.backends)
        }
        reference = results["gymnasium"]
        for backend, result in results.items():
            n = len(result.returns)
            error = math.sqrt((result.std_return**2 + reference.std_return**2) / (n - 1))
            off = (result.mean_return - reference.mean_return) / error if backend != "gymnasium" else 0.0
            worst = max(worst, abs(off))
            print(
                f"{env:18} {backend:10} {result.mean_return:9.1f} ± {result.std_return:7.1f}"
                f"  {off:+.2f} standard errors",
                flush=True,
            )
            report.append(
                {"env": env, "backend": backend, "episodes": n, "returns": result.returns, "lengths": result.lengths}
                | {"mean_return": result.mean_return, "std_return": result.std_return, "standard_errors": off}
            )
    if options.json:
        content = {"device": devices.device_name(options.device), "versions": versions.versions(), "results": report}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return int(worst > TOLERATED)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
