"""What is wrong with a configuration, beyond its types: one table of rules, and the few that concern two fields or the
file system.

Every problem is one line that names the flag, its value and what is allowed, so that all can be reported at once.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from mjxrl.config.schema import GYMNASIUM, Config, LearnerConfig
from mjxrl.errors import TaskError
from mjxrl.machine.devices import Backend
from mjxrl.machine.torchrun import Place


class Rule(NamedTuple):
    """What a field may be: a test that may assume nothing of its argument, and the same in words."""

    holds: Callable[[Any], bool]
    allowed: str


def _whole(low: int, high: float = math.inf) -> Rule:
    words = f"a whole number from {low} to {int(high)}" if math.isfinite(high) else f"a whole number, at least {low}"
    return Rule(lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, words)


def _real(low: float, high: float = math.inf, open_low: bool = False) -> Rule:
    """A finite number in [low, high], or in (low, high] if `open_low`."""
    words = f"a finite number, {'above' if open_low else 'at least'} {low:g}"
    if math.isfinite(high):
        words = f"a number from {low:g}{' (excluded)' if open_low else ''} to {high:g}"

    def holds(v: Any) -> bool:
        if not isinstance(v, int | float) or isinstance(v, bool) or not -math.inf < v < math.inf:
            return False
        return (low < v if open_low else low <= v) and v <= high

    return Rule(holds, words)


def _or_none(rule: Rule) -> Rule:
    return Rule(lambda v: v is None or rule.holds(v), f"{rule.allowed}, or None")


_COUNT, _COUNT_OR_OFF, _STEP_SIZE = _whole(1), _whole(0), _real(0, 1, open_low=True)
_WIDTHS = Rule(
    lambda v: isinstance(v, tuple) and len(v) > 0 and all(map(_COUNT.holds, v)),
    "one or more layer widths, each a whole number, at least 1",
)
_PROJECT = Rule(  # as W&B has it
    lambda v: isinstance(v, str) and 0 < len(v) <= 128 and not set(v) & set("/\\#?%:"),
    "a name of up to 128 characters, none of / \\ # ? % :",
)

RULES: dict[str, Rule] = {
    "num_envs": _COUNT,
    "total_steps": _COUNT,
    "max_minutes": _or_none(_real(0, open_low=True)),
    "seed": _whole(0, 2**31 - 1),
    "physics.threads": _COUNT_OR_OFF,
    "learner.threads": _COUNT_OR_OFF,
    "physics.iterations": _or_none(_COUNT),
    "physics.ls_iterations": _or_none(_COUNT),
    "physics.max_contacts": _or_none(_COUNT),
    "replay.capacity": _COUNT,
    "replay.her_goals": _or_none(_COUNT_OR_OFF),
    "learner.batch_size": _COUNT,
    "learner.updates_per_step": _COUNT,
    "learner.warmup_steps": _COUNT_OR_OFF,
    "learner.gamma": _real(0, 1),
    "learner.n_step": _COUNT,
    "learner.tau": _real(0, 1, open_low=True),
    "learner.policy_delay": _COUNT,
    "learner.num_critics": _COUNT,
    "learner.actor_hidden": _WIDTHS,
    "learner.critic_hidden": _WIDTHS,
    "learner.actor_lr": _STEP_SIZE,
    "learner.critic_lr": _STEP_SIZE,
    "learner.atoms": _whole(2),
    "learner.value_range": _real(0, open_low=True),
    "learner.adam_beta1": _real(0, 0.999),
    "learner.policy_average": _or_none(_real(0, 1, open_low=True)),
    "learner.hold_noise": _COUNT,
    "learner.weight_decay": _real(0),
    "learner.lr_final": _real(0, 1),
    "td3.exploration_noise": _real(0),
    "td3.exploration_noise_max": _or_none(_real(0)),
    "td3.target_noise": _real(0),
    "td3.target_noise_clip": _real(0),
    "sac.init_temperature": _real(0, open_low=True),
    "sac.target_entropy": _or_none(_real(-math.inf)._replace(allowed="a finite number")),
    "sac.target_std": _or_none(_real(0, open_low=True)),
    "sac.init_std": _real(0, open_low=True),
    "sac.temperature_lr": _STEP_SIZE,
    "sac.exploration_scale": _real(0),
    "sac.exploration_scale_max": _or_none(_real(0)),
    "eval.every": _COUNT_OR_OFF,
    "eval.episodes": _COUNT,
    "eval.final_episodes": _COUNT_OR_OFF,
    "log.every": _COUNT,
    "log.wandb": _or_none(_PROJECT),
    "checkpoint.every": _COUNT_OR_OFF,
    "checkpoint.keep": _COUNT,
}

# of keywords that every task has; a task cannot even be made with another value
TASK_RULES = {"task.frame_skip": _COUNT, "task.max_episode_steps": _COUNT}

# of the learner: what decides which weights there are and what they mean
NETWORKS = (
    *("actor_hidden", "critic_hidden", "blocks", "num_critics", "critic", "critic_norm", "actor_norm"),
    *("critic_activation", "normalize_obs", "scale_rewards"),
)


def flag(path: str) -> str:
    """The command-line flag of a field: `learner.batch_size` is `--learner.batch-size`."""
    return "--" + path.replace("_", "-")


def problem(path: str, value: Any, allowed: str) -> str:
    """One line on one field."""
    words = value if not isinstance(value, tuple) else " ".join(map(str, value)) or "(no value)"
    return f"{flag(path)} {words}: allowed: {allowed}"


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """The command line, word by word, that gives fields at dotted paths these values."""
    words: list[str] = []
    for path, value in values.items():
        group, _, field = path.rpartition(".")
        if isinstance(value, bool):
            words.append(flag(path if value else f"{group}.no_{field}"))
        else:
            words += [flag(path), *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return words


def flags_of_networks(learner: LearnerConfig, other: LearnerConfig) -> list[str]:
    """Flags that say what `learner` is, where the networks of `other` or what they see would not fit its own."""
    names = [*NETWORKS, "atoms"] if learner.critic == other.critic == "categorical" else NETWORKS
    pairs = {f"learner.{name}": (getattr(learner, name), getattr(other, name)) for name in names}
    return as_flags({path: value for path, (value, others) in pairs.items() if value != others})


def value_of(config: Config, path: str) -> Any:
    """The value at a dotted path."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def validate(config: Config) -> list[str]:
    """Everything that is wrong with the values themselves, one line each; touches neither disk nor devices."""
    wrong = {p: rule for p, rule in RULES.items() if not rule.holds(value_of(config, p))}
    problems = [problem(path, value_of(config, path), rule.allowed) for path, rule in wrong.items()]
    if not wrong.keys() & {"replay.capacity", "learner.batch_size", "learner.n_step", "num_envs"}:
        problems += _fits_the_replay(config)
        if not wrong.keys() & {"learner.warmup_steps", "total_steps"}:
            problems += _learns(config)
    problems += _fits_the_networks(config, wrong.keys())
    in_gymnasium = config.env.startswith(GYMNASIUM)
    if in_gymnasium != (config.backend == "gymnasium"):
        allowed = "gymnasium" if in_gymnasium else ", ".join(each for each in get_args(Backend) if each != "gymnasium")
        problems.append(problem("backend", config.backend, f"{allowed} with --env {config.env}"))
    if config.backend == "native" and config.physics.accuracy == "fast":
        problems.append(problem("physics.accuracy", "fast", "exact with --backend native, whose solver is the XML's"))
    return problems


def _fits_the_networks(config: Config, wrong: Collection[str]) -> list[str]:
    learner = config.learner
    if not learner.blocks:
        return []
    widths = {f"learner.{name}_hidden": getattr(learner, f"{name}_hidden") for name in ("actor", "critic")}
    problems = [
        problem(path, value, "one width for all, with --learner.blocks")
        for path, value in widths.items()
        if path not in wrong and len(set(value)) > 1
    ]
    if learner.critic_norm == "batch":
        problems.append(problem("learner.critic_norm", "batch", "none, layer, with --learner.blocks"))
    if learner.actor_norm == "batch":
        problems.append(problem("learner.actor_norm", "batch", "none, with --learner.blocks"))
    return problems


def validate_place(config: Config, place: Place) -> list[str]:
    """Everything that several processes cannot share, one line each."""
    if place.size == 1:
        return []
    problems = [
        problem(path, value_of(config, path), f"a multiple of the {place.size} processes")
        for path in ("num_envs", "learner.batch_size")
        if value_of(config, path) % place.size
    ]
    if config.learner.graphs:
        problems.append(problem("learner.graphs", "true", "--learner.no-graphs under torchrun, untested with NCCL"))
    if place.restarts_allowed and config.run_dir is None and config.resume is None:
        problems.append(
            f"torchrun --max-restarts {place.restarts_allowed}: allowed: with --run-dir or --resume, where a restart "
            "finds the run"
        )
    return problems


def _fits_the_replay(config: Config) -> list[str]:
    capacity, batch_size = config.replay.capacity, config.learner.batch_size
    if batch_size > capacity:
        allowed = f"at most --replay.capacity, {capacity}"
        return [problem("learner.batch_size", batch_size, allowed)]
    least = (config.learner.n_step + 1) * config.num_envs
    if capacity < least:
        allowed = f"at least {least} here, which is (--learner.n-step + 1) x --num-envs"
        return [problem("replay.capacity", capacity, allowed)]
    return []


def first_update(config: Config) -> int:
    """Transitions that are collected before the first update."""
    learner, worlds = config.learner, config.num_envs
    needed = max(learner.batch_size, min(learner.warmup_steps, config.replay.capacity))
    return math.ceil(needed / worlds) * worlds


def _learns(config: Config) -> list[str]:
    first, learner = first_update(config), config.learner
    if first < config.total_steps:
        return []
    why = f"--learner.warmup-steps {learner.warmup_steps}, --learner.batch-size {learner.batch_size}"
    allowed = f"more than {first}, which come before the first update (--num-envs {config.num_envs}, {why})"
    return [problem("total_steps", config.total_steps, allowed)]


def validate_paths(config: Config) -> list[str]:
    """Everything that is wrong with the folders a run reads and writes; leaves nothing behind."""
    problems = []
    run_dir = config.run_dir
    if run_dir is not None and run_dir.exists() and not _is_empty_folder(run_dir):
        problems.append(problem("run_dir", run_dir, "a folder that is empty or does not exist yet"))
    elif not _writable(run_dir or Path("runs")):
        allowed = "a folder that can be written"
        problems.append(problem("run_dir", run_dir or "runs/ in this folder, by default", allowed))
    source = config.init_from
    if source is not None and not (source / "config.json").is_file():
        problems.append(problem("init_from", source, "the folder of an earlier run, with its config.json"))
    if getattr(config.task, "xml_file", ""):
        try:
            _ = config.task.xml_path
        except TaskError as error:
            allowed = f"a path, or the name of one of Gymnasium's MJCF files ({error})"
            problems.append(problem("task.xml_file", config.task.xml_file, allowed))
    return problems


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.R_OK) and not any(path.iterdir())


def _writable(path: Path) -> bool:
    """Whether `path`, or the nearest parent that exists, is a folder that this process may write to.

    Asking the system is not enough for root, nor for file systems such as /proc; so a folder is made there and removed.
    """
    nearest = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".mjxrl-"):
            return True
    except OSError:
        return False
