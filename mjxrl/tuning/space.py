"""Which settings a study may choose, and chosen ones as flags and as a row of `config/presets.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mjxrl.config import Config
from mjxrl.config.presets import Row
from mjxrl.config.rules import value_of

if TYPE_CHECKING:
    from optuna import Trial


class Between(NamedTuple):
    """A real number, as likely in each decade."""

    low: float
    high: float


class OneOf(NamedTuple):
    """One of these values."""

    values: tuple[Any, ...]


class Times(NamedTuple):
    """The preset's whole number times one of these, at least 1."""

    factors: tuple[float, ...]


Choice = Between | OneOf | Times
SPACE: dict[str, Choice] = {
    "learner.actor_lr": Between(1e-4, 3e-3),
    "learner.critic_lr": Between(1e-4, 3e-3),
    "learner.gamma": OneOf((0.95, 0.97, 0.98, 0.99, 0.995)),
    "learner.tau": Between(1e-3, 1e-1),
    "learner.n_step": OneOf((1, 3, 5)),
    "learner.batch_size": Times((0.5, 1, 2)),
    "learner.updates_per_step": Times((0.25, 0.5, 1, 2)),
    "learner.warmup_steps": Times((0.1, 0.3, 1)),
    "learner.normalize_obs": OneOf((False, True)),
    "learner.critic_norm": OneOf(("none", "layer")),
    "td3.exploration_noise": Between(0.03, 0.5),
    "td3.target_noise": Between(0.03, 0.5),
    "sac.init_temperature": Between(1e-3, 1.0),
    "sac.temperature_lr": Between(1e-4, 3e-3),
}
OTHERS = {"td3": "sac.", "sac": "td3."}  # settings that an algorithm does not have


def searched(algo: str, fixed: set[str], wanted: tuple[str, ...] = ()) -> list[str]:
    """The settings that a study chooses: those wanted, or all of the algorithm's, but for those that flags fix."""
    return [
        name for name in SPACE
        if (name in wanted or not wanted) and name not in fixed and not name.startswith(OTHERS[algo])
    ]  # fmt: skip


def chosen(trial: Trial, names: list[str], config: Config) -> dict[str, Any]:
    """What a trial is to try, by dotted name."""
    values: dict[str, Any] = {}
    for name in names:
        match SPACE[name]:
            case Between(low, high):  # two digits are all that anybody copies
                values[name] = float(f"{trial.suggest_float(name, low, high, log=True):.2g}")
            case OneOf(allowed):
                values[name] = trial.suggest_categorical(name, allowed)
            case Times(factors):
                factor = trial.suggest_categorical(name, factors)
                values[name] = max(1, round(factor * value_of(config, name)))
    return values


def as_they_are(names: list[str], config: Config) -> dict[str, Any]:
    """The preset's own settings, as far as a study can choose them, for its first trial."""
    first: dict[str, Any] = {}
    for name in names:
        value, choice = value_of(config, name), SPACE[name]
        if isinstance(choice, Times):
            first[name] = 1
        elif choice.low <= value <= choice.high if isinstance(choice, Between) else value in choice.values:
            first[name] = value
    return first


def as_row(values: Mapping[str, Any], config: Config) -> Row:
    """Those that differ from `config`, as a row of presets."""
    row: Row = {}
    for name, value in values.items():
        if value != value_of(config, name):
            group, _, field = name.rpartition(".")
            row.setdefault(group, {})[field] = value
    return row


def in_presets(row: Row, config: Config, remark: str) -> str:
    """The lines to paste into `TASKS` in config/presets.py."""
    groups = "".join(f"    {group!r}: {values!r},\n" for group, values in row.items())
    text = f"# {remark}\n{(config.preset, config.env, config.algo)!r}: {{\n{groups}}},\n"
    return textwrap.indent(text.replace("'", '"'), "    ")
