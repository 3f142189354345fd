from __future__ import annotations

import ast
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjxrl.cli.parse import parse_config
from mjxrl.config import Algorithm
from mjxrl.config.presets import default_config, merged
from mjxrl.config.rules import as_flags, validate, value_of
from mjxrl.tuning import space
from mjxrl.tuning.space import Between, OneOf, Times


class Drawn:
    """Stands in for Optuna's trial: a point of the unit cube."""

    def __init__(self, point: list[float]) -> None:
        self._point = iter(point)

    def suggest_float(self, _: str, low: float, high: float, *, log: bool) -> float:
        assert log
        return low * (high / low) ** next(self._point)

    def suggest_categorical(self, _: str, values: tuple[Any, ...]) -> Any:
        return values[min(int(next(self._point) * len(values)), len(values) - 1)]


@pytest.mark.parametrize("algo", get_args(Algorithm))
@settings(max_examples=6)
@given(point=st.lists(st.floats(0, 1), min_size=14, max_size=14))
def test_whatever_is_drawn_can_be_trained_and_comes_back_from_flags_and_row(algo: str, point: list[float]) -> None:
    config = default_config("Pendulum-v1", cast(Algorithm, algo), device="cpu", max_minutes=1)
    names = space.searched(algo, set())
    values = space.chosen(cast(Any, Drawn(point)), names, config)
    told = merged(config, space.as_row(values, config))
    assert not validate(told)
    assert {name: value_of(told, name) for name in names} == values
    words = ["--env", "Pendulum-v1", "--algo", algo, "--device", "cpu", "--max-minutes", "1", *as_flags(values)]
    read = parse_config(words)
    assert {name: value_of(read, name) for name in names} == values


def test_the_first_trial_is_the_presets_own() -> None:
    config = default_config("Pendulum-v1", "sac", device="cpu", max_minutes=1)
    names = space.searched("sac", {"learner.gamma"})
    first = space.as_they_are(names, config)
    assert "learner.gamma" not in first and first["learner.actor_lr"] == 1e-3 and first["learner.batch_size"] == 1
    assert set(first) == set(names)


def test_what_is_searched_fits_the_algorithm_and_the_flags() -> None:
    assert "td3.target_noise" not in space.searched("sac", set()) and "td3.target_noise" in space.searched("td3", set())
    assert space.searched("sac", {"learner.tau"}, ("learner.tau", "learner.gamma")) == ["learner.gamma"]
    assert {type(choice) for choice in space.SPACE.values()} == {Between, OneOf, Times}


def test_the_row_can_be_pasted_and_holds_only_what_differs() -> None:
    config = default_config("Pendulum-v1", "sac", device="cpu", max_minutes=1)
    values = {"learner.gamma": 0.95, "learner.tau": config.learner.tau, "sac.init_temperature": 0.1}
    text = space.in_presets(space.as_row(values, config), config, "1 seed")
    assert text.splitlines()[0] == "    # 1 seed"
    assert ast.literal_eval("{" + text + "}") == {
        ("laptop", "Pendulum-v1", "sac"): {"learner": {"gamma": 0.95}, "sac": {"init_temperature": 0.1}}
    }
