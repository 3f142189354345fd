"""`mjxrl-evaluate`: score the deterministic policy of a run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import FlagCreatePairsOff, Positional

from mjxrl.cli.parse import TaskOptions, parse, refuse, run_dir_problems
from mjxrl.config.rules import problem
from mjxrl.errors import Refusal
from mjxrl.machine import devices, settings
from mjxrl.storage.run_dir import load_config

if TYPE_CHECKING:
    from mjxrl.policy.evaluation import EvalResult


@dataclass(frozen=True)
class Options:
    """Score the deterministic policy of a run, on the task that it was trained on."""

    run_dir: Positional[Path] = Path()
    """Folder of the run."""
    episodes: int = 10
    """Episodes to play."""
    backend: Literal["auto", "gymnasium", "native", "jax"] = "auto"
    """Where to play them; auto: in Gymnasium if its environment is the very task, else native."""
    seed: int = 0
    """Seed of the first states."""
    checkpoint: str = "latest"
    """Which checkpoint: latest, best, or step_<n> as in the run's checkpoints/."""
    task: TaskOptions = field(default_factory=TaskOptions)
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object and nothing else."""


def main() -> int:
    """Evaluate as the command line says; returns the exit status."""
    options = parse_options(sys.argv[1:])
    on_mjx = options.backend == "jax"
    try:
        machine = devices.resolve("auto", "jax") if on_mjx else devices.resolve("cpu", "native")
        settings.set_up(machine.device, machine.backend)
        from mjxrl.policy.evaluation import evaluate_run

        settings.mujoco_log_to(options.run_dir / "mujoco.log")
        if notice := machine.notice(options.episodes, options.run_dir.name):
            print(notice, file=sys.stderr)
        result = evaluate_run(
            options.run_dir,
            episodes=options.episodes,
            backend=options.backend,
            seed=options.seed,
            which=options.checkpoint,
            device=machine.device,
            xml_file=options.task.xml_file,
        )
    except Refusal as error:
        refuse([str(error)])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    env = load_config(options.run_dir, options.task.xml_file).env
    report = {"env": env, "seed": options.seed, **result.as_json()}
    report["backend"] = report.pop("where")
    print(json.dumps(report) if options.json else table(env, result))
    return 0


def parse_options(argv: list[str], prog: str = "mjxrl-evaluate") -> Options:
    """The options that `argv` gives; prints help, or everything that is wrong with them, and exits."""
    options, problems = parse(Options(), argv, prog, positional="run_dir")
    problems += run_dir_problems(options.run_dir, prog, options.task.xml_file)
    if options.episodes < 1:
        problems.append(problem("episodes", options.episodes, "a whole number, at least 1"))
    if options.seed < 0:
        problems.append(problem("seed", options.seed, "a whole number, at least 0"))
    if problems:
        refuse(problems)
    return options


def table(env: str, result: EvalResult) -> str:
    """The result for a reader: one row per episode, then mean and standard deviation."""
    lines = [f"{env} on {result.where}, deterministic policy", "", "episode    return  length"]
    for i, (score, length) in enumerate(zip(result.returns, result.lengths, strict=True), start=1):
        lines.append(f"{i:7d}  {score:8.1f}  {length:6d}")
    lines += ["", f"mean return {result.in_words().strip()}"]
    return "\n".join(lines)
