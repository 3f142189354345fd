"""`mjxrl-sweep`: look for the settings that learn most in some minutes."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from mjxrl.cli.flags import flags_given, split, taken
from mjxrl.cli.parse import parse, parse_config, refuse
from mjxrl.config.rules import RULES, flag, problem
from mjxrl.errors import Refusal
from mjxrl.machine import versions
from mjxrl.tuning import space
from mjxrl.tuning.plan import Plan

FIRST_SEED = 100  # settings are tuned on other seeds than those that results are published of
TAKEN = ("--run-dir", "--resume", "--max-minutes", "--eval.final-episodes")  # flags of mjxrl-train that a study decides


@dataclass(frozen=True)
class Options:
    """Train with settings that Optuna chooses, each for the same minutes, and print the best ones. Flags of mjxrl-train
    (mjxrl-train --help lists them) hold for all runs. The same command goes on with a study."""

    trials: int = 20
    """Settings to try, those of earlier starts included; the first are the preset's own."""
    minutes: float = 5.0
    """Minutes of training for each run, after which its score counts, in Gymnasium where it has the task."""
    seeds: int = 2
    """Runs for each setting, from --seed on (100 by default); their mean counts."""
    search: tuple[str, ...] = ()
    """Settings to choose, as in learner.gamma learner.tau; by default all that --algo has."""
    study: Path | None = None
    """Folder of the study. Default: runs/sweep-<env>-<algo>-<minutes>min."""


def main() -> int:
    """Search as the command line says; returns the exit status."""
    plan = parse_options(sys.argv[1:])
    from mjxrl.tuning import study  # Optuna, which takes seconds

    try:
        found = study.run(plan)
    except Refusal as error:
        refuse([str(error)])
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(study.report(found, plan) or "no trial came to its end\n", end="")
    print(*study.plot(found, plan.folder), sep="\n")
    return 0


def parse_options(argv: list[str], prog: str = "mjxrl-sweep") -> Plan:
    """The study that `argv` asks for; prints help, or what is wrong with it, and exits."""
    own, flags = split(argv, Options)
    options, problems = parse(Options(), own, prog)
    if not versions.installed("optuna"):
        problems.append("mjxrl-sweep: allowed: with Optuna: pip install 'mjxrl[sweep]'")
    problems += taken(flags, TAKEN)
    for name in ("trials", "seeds"):
        if not RULES["num_envs"].holds(getattr(options, name)):
            problems.append(problem(name, getattr(options, name), RULES["num_envs"].allowed))
    if not RULES["max_minutes"].holds(options.minutes):
        problems.append(problem("minutes", options.minutes, "a finite number, above 0"))
    unknown = tuple(name for name in options.search if name not in space.SPACE)
    if unknown:
        problems.append(problem("search", unknown, f"some of {', '.join(space.SPACE)}"))
    if problems:
        refuse(problems)
    if "--seed" not in flags_given(flags):
        flags += ["--seed", str(FIRST_SEED)]
    config = parse_config([*flags, "--max-minutes", str(options.minutes)], prog)
    fixed = {name for name in space.SPACE if flag(name) in flags_given(flags)}
    names = space.searched(config.algo, fixed, options.search)
    if not names:
        refuse([problem("search", options.search, "at least one setting that --algo has and no other flag fixes")])
    name = f"sweep-{config.env.rpartition(':')[2]}-{config.algo}-{options.minutes:g}min"
    return Plan(
        folder=options.study or Path("runs") / name,
        config=dataclasses.replace(config, max_minutes=options.minutes),
        flags=tuple(flags),
        names=tuple(names),
        minutes=options.minutes,
        seeds=tuple(range(config.seed, config.seed + options.seeds)),
        trials=options.trials,
    )
