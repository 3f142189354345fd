"""From command-line words to a `Config`, through tyro; every refusal is one line on standard error, exit status 2.

Nothing here imports jax or torch, so that `--help` and refusals come at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from mjxrl.cli.flags import check, flags_of, last_value
from mjxrl.config import Config
from mjxrl.config.presets import default_config
from mjxrl.config.rules import RULES, validate, validate_paths
from mjxrl.envs import task_class
from mjxrl.errors import RunError, UnavailableError
from mjxrl.machine import devices
from mjxrl.storage.run_dir import load_config

OptionsT = TypeVar("OptionsT")
XML_FILE = "--task.xml-file"
RESUMABLE = ("--total-steps", "--max-minutes", XML_FILE)  # what may change when a run goes on


def parse_config(argv: list[str], prog: str = "mjxrl-train") -> Config:
    """The configuration that `argv` asks for; prints help, or everything that is wrong with it, and exits.

    Defaults depend on the task, the algorithm and the number of worlds, so the flags that choose those are read first.
    One that is wrong is reported with everything else; until then the default stands in for it.
    """
    resume = last_value(argv, "--resume")
    if resume is not None:
        return _resumed(Path(resume), argv, prog)
    env = last_value(argv, "--env") or Config.env
    problems: list[str] = []
    try:
        task = task_class(env)()
    except ValueError as error:
        problems.append(f"--env {env}: {error}")
        task = None
    chosen: dict[str, Any] = {}
    for name in ("algo", "backend", "device", "preset"):
        given = last_value(argv, f"--{name}")
        chosen[name] = given if RULES[name].holds(given) else getattr(Config, name)
    worlds = last_value(argv, "--num-envs") or ""
    num_envs = int(worlds) if worlds.isdecimal() and int(worlds) > 0 else None
    default = dataclasses.replace(default_config(env, num_envs=num_envs, **chosen), task=task)

    parsed, wrong = parse(_with_keywords_of(task, default), argv, prog, fatal=problems)
    config = _converted(Config, parsed)
    if config.preset == "auto":
        config = dataclasses.replace(config, preset=default.preset)
    if task is None:
        wrong = [line for line in wrong if not line.startswith("--task.")]  # nobody knows which are right
    problems += wrong + validate(config) + validate_paths(config) + _unavailable(config)
    if problems:
        refuse(problems)
    return config


def _resumed(path: Path, argv: list[str], prog: str) -> Config:
    """The configuration of the run at `path`, with the overrides that make sense for the rest of it."""
    try:
        saved = load_config(path, last_value(argv, XML_FILE))
    except RunError as error:
        refuse([f"--resume {error}"])
    given = {word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")}
    problems = [
        f"{flag}: not with --resume, which goes on as the run was started: allowed: {', '.join(RESUMABLE)}"
        for flag in sorted(given - {"--resume", "--help", *RESUMABLE})
    ]
    default = _with_keywords_of(saved.task, dataclasses.replace(saved, resume=path))
    parsed, wrong = parse(default, argv if not problems else ["--resume", str(path)], prog)
    config = _converted(Config, parsed)
    problems += wrong + validate(config) + _unavailable(config)
    if problems:
        refuse(problems)
    return config


def parse(
    default: OptionsT, argv: list[str], prog: str, *, positionals: int = 0, fatal: list[str] | None = None
) -> tuple[OptionsT, list[str]]:
    """`default` with the values that `argv` gives, and one line for each word that could not be used.

    Help is printed instead, and the process exits, if `argv` asks for it and there is nothing `fatal` to say.
    """
    if any(word in ("-h", "--help") for word in argv):
        if fatal:
            refuse(fatal)
        return _through_tyro(default, ["--help"], prog), []
    words = check(argv, flags_of(default))
    extra = [f"{word}: not expected here: allowed: --flag VALUE, see --help" for word in words.loose[positionals:]]
    return _through_tyro(default, words.loose[:positionals] + words.good, prog), words.problems + extra


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
    """Print one line per problem on standard error and exit with status 2."""
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(2)


def _through_tyro(default: OptionsT, argv: list[str], prog: str) -> OptionsT:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(type(default), default=default, args=argv, prog=prog)
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except SystemExit as stop:
        if stop.code:
            refuse([_unboxed(said.getvalue())])
        raise


def _unboxed(message: str) -> str:
    """The first paragraph of one of tyro's boxes, on one line."""
    words: list[str] = []
    for line in message.splitlines()[1:]:  # the first line is the box's title
        text = line.strip("│╭╮╰╯─ ")
        if not text:
            break
        words.append(text)
    return " ".join(words)


def _with_keywords_of(task: Any, default: Config) -> Config:
    """`default`, of a type that names the task's class where `Config` says Any, so that tyro shows its keywords."""
    if task is None:
        return default
    field = ("task", type(task), dataclasses.field(default=task))
    specific = dataclasses.make_dataclass("Config", [field], bases=(Config,), frozen=True)
    specific.__doc__ = Config.__doc__
    return _converted(specific, default)


def _converted(to: type[OptionsT], options: Any) -> OptionsT:
    return to(**{field.name: getattr(options, field.name) for field in dataclasses.fields(options)})


def _unavailable(config: Config) -> list[str]:
    """What this machine lacks for the device and the backend asked for."""
    if not (RULES["device"].holds(config.device) and RULES["backend"].holds(config.backend)):
        return []  # reported by `validate`
    try:
        devices.resolve_backend(config.backend, devices.resolve_device(config.device))
    except UnavailableError as error:
        return [str(error)]
    return []
