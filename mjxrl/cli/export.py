"""`mjxrl-export`: the policy of a run as files that run without it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import FlagCreatePairsOff, Positional

from mjxrl.cli.parse import TaskOptions, parse, refuse, run_dir_problems
from mjxrl.errors import Refusal
from mjxrl.machine import settings


@dataclass(frozen=True)
class Options:
    """Write the policy of a run, observation statistics included, for `mjxrl.load_policy`, and as ONNX if asked."""

    run_dir: Positional[Path] = Path()
    """Folder of the run."""
    checkpoint: str = "latest"
    """Which checkpoint: latest, best, or step_<n> as in the run's checkpoints/."""
    out: Path | None = None
    """Folder to write policy.safetensors and policy.json into. Default: policy/ in the run's."""
    task: TaskOptions = field(default_factory=TaskOptions)
    onnx: FlagCreatePairsOff[bool] = False
    """Write policy.onnx too: input obs (batch, O), output action (batch, A) in [-1, 1]."""


def main() -> int:
    """Export as the command line says; returns the exit status."""
    options = parse_options(sys.argv[1:])
    settings.set_up("cpu", "native")
    from mjxrl.policy.export import export_run

    try:
        files = export_run(
            options.run_dir,
            which=options.checkpoint,
            out=options.out,
            onnx=options.onnx,
            xml_file=options.task.xml_file,
        )
    except Refusal as error:
        refuse([str(error)])
    except OSError as error:
        refuse([f"--out {options.out or options.run_dir / 'policy'}: cannot be written: {error.strerror}"])
    print(*files, sep="\n")
    return 0


def parse_options(argv: list[str], prog: str = "mjxrl-export") -> Options:
    """The options that `argv` gives; prints help, or everything that is wrong with them, and exits."""
    options, problems = parse(Options(), argv, prog, positional="run_dir")
    problems += run_dir_problems(options.run_dir, prog, options.task.xml_file)
    if problems:
        refuse(problems)
    return options
