"""`mjxrl-parity`: whether our worlds do what Gymnasium's or MuJoCo's C do, on this machine and with these versions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from mjxrl.cli.parse import parse, refuse
from mjxrl.config import PhysicsConfig
from mjxrl.config.rules import RULES, problem
from mjxrl.envs import SUITE, task_class
from mjxrl.errors import Refusal, TaskError
from mjxrl.machine import devices, settings, versions


@dataclass(frozen=True)
class Options:
    """Compare one environment step with Gymnasium's own (of other tasks with native's), from the same states; exits 1
    outside tolerance."""

    env: tuple[str, ...] = tuple(SUITE)
    """Task ids, or my_module:MyTask; by default all of Gymnasium's suite."""
    backend: Literal["native", "jax", "warp"] = "native"
    """Physics."""
    device: devices.Device = "cpu"
    """Where jax and warp simulate."""
    states: int = 64
    """States of each kind: in contact, without contact, from a reset; beside native of random play."""
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)


def main() -> int:
    """Compare as the command line says; returns the exit status."""
    options = parse_options(sys.argv[1:])
    try:
        machine = devices.resolve(options.device, options.backend)
        settings.set_up(machine.device, machine.backend)
        return _compare_all(options, machine)
    except Refusal as error:
        refuse([str(error)])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _compare_all(options: Options, machine: devices.Machine) -> int:
    from mjxrl.checks.parity import compare, table
    from mjxrl.worlds import on_torch

    settings.keep_mujoco_log_out_of_the_way()
    found = versions.versions()
    names = ("mujoco", "mujoco-mjx", "mujoco-warp", "gymnasium")
    packages = " ".join(f"{name} {found[name]}" for name in names if name in found)
    print(f"{options.backend} on {machine.device} ({machine.device_name}), {packages}")
    failed = 0
    for env in options.env:
        task = task_class(env)()
        try:
            on_torch.check(task)
        except TaskError as error:
            print(f"\n{env}: not for warp: {error}", flush=True)
        reports = compare(task, options.backend, options.states, options.physics, machine.device)
        problems = [f"{report.kind}: {line}" for report in reports for line in report.problems]
        print(f"\n{env}: {'OUT OF TOLERANCE' if problems else 'equal'}\n{table(reports)}")
        print("".join(f"  {line}\n" for line in problems), end="", flush=True)
        failed += bool(problems)
    print(f"\n{failed} of {len(options.env)} tasks out of tolerance" if failed else "\nall within tolerance")
    return 1 if failed else 0


def parse_options(argv: list[str], prog: str = "mjxrl-parity") -> Options:
    """The options that `argv` gives; prints help, or everything that is wrong with them, and exits."""
    options, problems = parse(Options(), argv, prog)
    if not options.env:
        problems.append(f"--env: allowed: one or more of {', '.join(SUITE)}, or my_module:MyTask")
    for env in options.env:
        try:
            task_class(env)
        except TaskError as error:
            problems.append(f"--env {env}: {error}")
    for name in ("iterations", "ls_iterations", "max_contacts", "threads"):
        value, rule = getattr(options.physics, name), RULES[f"physics.{name}"]
        if not rule.holds(value):
            problems.append(problem(f"physics.{name}", value, rule.allowed))
    if options.states < 1:
        problems.append(problem("states", options.states, "a whole number, at least 1"))
    if problems:
        refuse(problems)
    return options
