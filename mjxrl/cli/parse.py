"""From command-line words to a `Config`; every refusal is one line on standard error, exit status 2.

Nothing here imports jax or torch, so that `--help` and refusals come at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import tyro

from mjxrl.cli.flags import applied, flags_given, flags_of, read, read_value
from mjxrl.config import Config
from mjxrl.config.presets import default_config, merged
from mjxrl.config.rules import RULES, problem, validate, validate_paths, validate_place
from mjxrl.envs import env_class
from mjxrl.errors import RunError, TaskError, UnavailableError
from mjxrl.machine import graphics, torchrun, versions
from mjxrl.storage.run_dir import holds, load_config

OptionsT = TypeVar("OptionsT")
TRAIN = "mjxrl-train"
# what the defaults of all else depend on
DECISIVE = ("env", "algo", "preset", "num_envs", "backend", "device", "total_steps", "max_minutes")
RESUMABLE = ("--total-steps", "--max-minutes", "--task.xml-file")  # what may change when a run goes on


def parse_config(argv: list[str], prog: str = TRAIN) -> Config:
    """The configuration that `argv` asks for; prints help, or everything that is wrong with it, and exits.

    Most defaults depend on a few flags, so these are read first. One that is wrong is reported with everything else;
    until then the default stands in for it.
    """
    given = read(argv, flags_of(Config(task=TaskOptions()))).values
    if given.get("resume"):
        return _resumed(given["resume"], given.get("task.xml_file"), argv, prog)
    chosen = {name: given[name] for name in DECISIVE if name in given}
    chosen = {name: value for name, value in chosen.items() if name not in RULES or RULES[name].holds(value)}
    chosen = {"env": Config.env, "algo": Config.algo, **chosen}
    problems: list[str] = []
    task = None
    try:
        task = env_class(chosen["env"])()
        if task.max_episode_steps is not None:
            chosen["time_limit"] = task.max_episode_steps
    except TaskError as error:
        problems.append(f"--env {chosen['env']}: {error}")
    default = _without_graphs(dataclasses.replace(default_config(**chosen), task=task))

    config, wrong = parse(default, argv, prog, fatal=problems)
    if config.preset == "auto":
        config = dataclasses.replace(config, preset=default.preset)
    if task is None:
        wrong = [line for line in wrong if not line.startswith("--task.")]  # nobody knows which are right
    problems += wrong + validate(config)
    if not problems:
        config = _restarted(config)
        problems += validate_place(config, torchrun.place())
    if torchrun.place().speaks:  # the others would find the folder that it makes
        problems += ([] if config.resume else validate_paths(config)) + _unavailable(config)
    if problems:
        refuse(problems)
    return config


def _restarted(config: Config) -> Config:
    """Where torchrun starts all processes over, since one failed, the run in the folder goes on; it begins again if
    nothing was saved there."""
    path, here = config.run_dir, torchrun.place()
    if not here.restarts or path is None or not holds(path, config):
        return config
    if any(path.glob("checkpoints/step_*")):
        return dataclasses.replace(config, resume=path)
    if here.rank == 0:
        shutil.rmtree(path)
    return config


def _without_graphs(config: Config) -> Config:
    """Several processes launch their updates one by one, unless told otherwise, which is refused."""
    return merged(config, {"learner": {"graphs": False}}) if torchrun.place().size > 1 else config


def _resumed(path: Path, xml_file: str | None, argv: list[str], prog: str) -> Config:
    """The configuration of the run at `path`, with the overrides that make sense for the rest of it."""
    try:
        saved = load_config(path, xml_file)
    except RunError as error:
        refuse([f"--resume {error}"])
    problems = [
        f"{flag}: not with --resume, which goes on as the run was started: allowed: {', '.join(RESUMABLE)}"
        for flag in sorted(flags_given(argv) - {"--resume", "--help", *RESUMABLE})
    ]
    config, wrong = parse(_without_graphs(dataclasses.replace(saved, resume=path)), argv if not problems else [], prog)
    problems += wrong + validate(config) + validate_place(config, torchrun.place()) + _unavailable(config)
    if problems:
        refuse(problems)
    return config


def parse(
    default: OptionsT, argv: list[str], prog: str, *, positional: str = "", fatal: list[str] | None = None
) -> tuple[OptionsT, list[str]]:
    """`default` with the values that `argv` gives, and one line for each word that could not be used.

    Help is printed instead, and the process exits, if `argv` asks for it and there is nothing `fatal` to say.

    Args:
        positional: the field that gets the words which belong to no flag.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a code page of Windows' may lack what is printed, such as ±
    if torchrun.place().size > 1 and prog != TRAIN:
        refuse([f"{prog}: allowed: in one process; torchrun is for {TRAIN}"])
    if any(word in ("-h", "--help") for word in argv):
        refuse(fatal) if fatal else _print_help(default, prog)
    values, loose, problems = read(argv, flags_of(default))
    if positional and loose:
        with contextlib.suppress(ValueError):
            values[positional], loose = read_value(get_type_hints(type(default))[positional], loose)
    problems += [f"{word}: not expected here: allowed: --flag VALUE, see --help" for word in loose]
    try:
        return applied(default, values), problems
    except TaskError as error:
        return default, [*problems, f"--task: {error}"]


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """Of a finished run's task."""

    xml_file: str | None = None
    """Its MJCF, if it is another one than in training."""


def run_dir_problems(run_dir: Path, prog: str, xml_file: str | None = None) -> list[str]:
    """A line if the positional RUN_DIR is missing or no run."""
    if run_dir == Path():
        return [f"RUN_DIR: missing: allowed: the folder of a run, as in {prog} runs/my-run"]
    try:
        load_config(run_dir, xml_file)
    except RunError as error:
        return [f"RUN_DIR {error}"]
    return []


def refuse(problems: list[str]) -> NoReturn:
    """Print one line per problem on standard error and exit with status 2; of a run's processes one prints."""
    for line in problems if torchrun.place().speaks else []:
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)


def _print_help(default: Any, prog: str) -> NoReturn:
    if not torchrun.place().speaks:
        raise SystemExit(0)
    try:
        tyro.cli(_shown(default), default=default, args=["--help"], prog=prog)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def _shown(options: Any) -> Any:
    """The type of `options`, with the task's own class where `Config` says Any, so that tyro shows its keywords."""
    if not isinstance(options, Config):
        return type(options)
    field = ("task", type(options.task), dataclasses.field(default=options.task))
    specific = dataclasses.make_dataclass("Config", [field], bases=(Config,), frozen=True)
    specific.__doc__ = Config.__doc__
    return specific


def _unavailable(config: Config) -> list[str]:
    """What this machine lacks for the device and the backend asked for."""
    missing = graphics.problem() if config.eval.film else None
    problems = [f"--eval.film: {missing}"] if missing else []
    if config.log.wandb is not None and not versions.installed("wandb"):
        problems.append(problem("log.wandb", config.log.wandb, "with W&B's package: pip install 'mjxrl[wandb]'"))
    try:
        config.machine()
    except UnavailableError as error:
        problems.append(str(error))
    return problems
