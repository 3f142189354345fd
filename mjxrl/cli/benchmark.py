"""`mjxrl-benchmark`: the speed of start-up, physics, learner and training on this machine, and their memory."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from mjxrl.cli.flags import last_value, split, taken
from mjxrl.cli.parse import parse, parse_config, refuse
from mjxrl.config.presets import merged
from mjxrl.config.rules import RULES, problem, validate_place
from mjxrl.machine import devices
from mjxrl.machine.torchrun import Place
from mjxrl.measurement.report import BY_DEFAULT, SECTIONS, benchmark
from mjxrl.measurement.tables import show
from mjxrl.storage.files import write_atomically

TAKEN = ("--run-dir", "--resume", "--init-from")  # flags of mjxrl-train that make no sense here


@dataclass(frozen=True)
class Options:
    """Measure start-up, physics, learner, training, memory, sampling and scaling, or with --sections ranks one run on
    several processes; `--env`, `--algo`, `--backend`, `--preset` and every other flag of mjxrl-train choose what is
    measured (mjxrl-train --help lists them)."""

    num_envs: str = ""
    """Numbers of worlds, as in 64,256,1024; by default that of mjxrl-train. The first counts for start-up, sampling."""
    sections: str = ",".join(BY_DEFAULT)
    """What to measure; also: ranks."""
    ranks: int = 2
    """Processes, on this machine, that share a run in section ranks."""
    repeats: int = 7
    """Interleaved repeats of every measurement (start-up: 3 at most)."""
    seconds: float = 1.0
    """Length of a repeat, about."""
    json: Path | None = None
    """Write every repeat here, with device, versions and flags."""
    plot: Path | None = None
    """Draw the scaling curve here (.png, .svg or .pdf)."""


class Plan(NamedTuple):
    """A checked command line."""

    options: Options
    sections: list[str]
    flags: dict[int, list[str]]
    """The flags of mjxrl-train for each number of worlds."""


def main() -> int:
    """Measure as the command line says; returns the exit status: 1 if something could not be measured."""
    plan = parse_options(sys.argv[1:])
    options, words = plan.options, next(iter(plan.flags.values()))
    console = Console()
    progress = Console(stderr=True)
    try:
        report = benchmark(
            plan.flags,
            plan.sections,
            repeats=options.repeats,
            seconds=options.seconds,
            device=devices.resolve_device(last_value(words, "--device") or "auto"),
            say=lambda line: progress.print(line, highlight=False, markup=False),
            ranks=options.ranks,
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    show(report, console)
    if options.json:
        write_atomically(options.json, json.dumps({"argv": sys.argv[1:], **report}, indent=2).encode() + b"\n")
    if options.plot:
        from mjxrl.measurement.plot import plot_scaling

        env = last_value(words, "--env") or "Ant-v5"
        plot_scaling(report["scaling"], options.plot, f"{env} on {report['device']}")
    return 1 if report["failures"] else 0


def parse_options(argv: list[str], prog: str = "mjxrl-benchmark") -> Plan:
    """What `argv` asks for; prints help, or what is wrong with it, and exits."""
    own, rest = split(argv, Options)
    options, problems = parse(Options(), own, prog)
    problems += taken(rest, TAKEN)
    sections = options.sections.split(",")
    if not set(sections) <= set(SECTIONS):
        problems.append(problem("sections", options.sections, f"some of {','.join(SECTIONS)}"))
    worlds = [int(word) if word.isdecimal() else 0 for word in options.num_envs.split(",")]
    if options.num_envs and (min(worlds) < 1 or len(set(worlds)) < len(worlds)):
        allowed = "different whole numbers, each at least 1, with commas between them"
        problems.append(problem("num_envs", options.num_envs, allowed))
    if not RULES["num_envs"].holds(options.repeats):
        problems.append(problem("repeats", options.repeats, RULES["num_envs"].allowed))
    if not 0 < options.seconds < float("inf"):
        problems.append(problem("seconds", options.seconds, "a finite number, above 0"))
    if options.ranks < 2:
        problems.append(problem("ranks", options.ranks, "a whole number, at least 2"))
    problems += _bad_files(options)
    if options.plot and "scaling" not in sections:
        problems.append(f"--plot {options.plot}: allowed: only with scaling among --sections")
    if problems:
        refuse(problems)
    if not options.num_envs:
        worlds = [parse_config(rest, prog).num_envs]
    flags = {number: [*rest, "--num-envs", str(number)] for number in worlds}
    for words in flags.values():
        config = parse_config(words, prog)
        if config.backend == "gymnasium":
            refuse([problem("env", config.env, "tasks of ours: what Gymnasium steps has no bare loop to compare with")])
        if "ranks" in sections:
            eager = merged(config, {"learner": {"graphs": False}})  # as several processes have it by default
            if problems := validate_place(eager, Place(size=options.ranks)):
                refuse(problems)
    return Plan(options, sections, flags)


def _bad_files(options: Options) -> list[str]:
    """One line for each file that cannot be written."""
    problems = []
    for name, path in (("json", options.json), ("plot", options.plot)):
        if path is None:
            continue
        if path.is_dir() or not path.absolute().parent.is_dir():
            problems.append(problem(name, path, "a file in a folder that exists"))
        elif name == "plot" and path.suffix not in (".png", ".svg", ".pdf"):
            problems.append(problem(name, path, "a name that ends in .png, .svg or .pdf"))
    return problems
