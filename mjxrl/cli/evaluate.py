"""`mjxrl-evaluate`: score the deterministic policy of a run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional

from mjxrl import runtime
from mjxrl.cli.parse import parse, refuse


@dataclass(frozen=True)
class Options:
    """Score the deterministic policy of a run, in Gymnasium's own environment by default."""

    run_dir: Positional[Path] = Path()
    """Folder of the run."""
    episodes: int = 10
    """Episodes to play."""
    backend: Literal["gymnasium", "native", "jax"] = "gymnasium"
    """Where to play them."""
    seed: int = 0
    """Seed of the first states."""
    checkpoint: str = "latest"
    """Which checkpoint: latest, or the name of a folder in checkpoints/."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object and nothing else."""


def main() -> int:
    """Evaluate as the command line says; returns the exit status."""
    options = parse_options(sys.argv[1:])
    device = runtime.resolve_device("auto") if options.backend == "jax" else "cpu"
    runtime.set_up(device, "jax" if options.backend == "jax" else "native")
    from mjxrl.checkpoint import CheckpointError
    from mjxrl.evaluation import evaluate_run

    try:
        result = evaluate_run(
            options.run_dir,
            episodes=options.episodes,
            backend=options.backend,
            seed=options.seed,
            checkpoint=options.checkpoint,
        )
    except CheckpointError as error:
        refuse([str(error)])
    except KeyboardInterrupt:
        return 130
    report = {
        "env": env_of(options.run_dir),
        "backend": options.backend,
        "seed": options.seed,
        "mean_return": float(result.mean_return),
        "std_return": float(result.std_return),
        "returns": [float(r) for r in result.returns],
        "lengths": [int(n) for n in result.lengths],
    }
    print(json.dumps(report) if options.json else table(report))
    return 0


def parse_options(argv: list[str], prog: str = "mjxrl-evaluate") -> Options:
    """The options that `argv` gives; prints help, or everything that is wrong with them, and exits."""
    options, problems = parse(Options(), argv, prog, positionals=1)
    if options.run_dir == Path():
        problems.append("RUN_DIR: missing: allowed: the folder of a run, as in `mjxrl-evaluate runs/my-run`")
    elif not (options.run_dir / "config.json").is_file():
        problems.append(f"RUN_DIR {options.run_dir}: allowed: the folder of a run, with its config.json")
    if options.episodes < 1:
        problems.append(f"--episodes {options.episodes}: allowed: a whole number, at least 1")
    if options.seed < 0:
        problems.append(f"--seed {options.seed}: allowed: a whole number, at least 0")
    if problems:
        refuse(problems)
    return options


def env_of(run_dir: Path) -> str:
    """The task id of a run, from its config.json."""
    saved = json.loads((run_dir / "config.json").read_text())
    return saved.get("config", saved)["env"]


def table(report: dict[str, Any]) -> str:
    """The result for a reader: one row per episode, then mean and standard deviation."""
    lines = [f"{report['env']} on {report['backend']}, deterministic policy", "", "episode    return  length"]
    for i, (score, length) in enumerate(zip(report["returns"], report["lengths"], strict=True), start=1):
        lines.append(f"{i:7d}  {score:8.1f}  {length:6d}")
    lines += ["", f"mean return {report['mean_return']:.1f}, standard deviation {report['std_return']:.1f}"]
    return "\n".join(lines)
