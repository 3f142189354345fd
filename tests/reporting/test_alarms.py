"""Each alarm rings where it should, is silent where it should not, and tells what to try."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from mjxrl.cli.flags import flags_of
from mjxrl.config import Config, LearnerConfig, LogConfig
from mjxrl.reporting.alarms import ALARMS, AlarmBell, alarms
from tests.helpers.small_runs import rows_of, small, train

CONFIG = Config(total_steps=100_000, learner=LearnerConfig(gamma=0.99), log=LogConfig(every=10))
HEALTHY = {
    "learner/target_q": 40.0,
    "learner/target_q_max": 90.0,
    "learner/q_bound": 100.0,
    "learner/temperature": 0.3,
    "learner/entropy": 2.0,
    "learner/action_saturation": 0.2,
}


def rows(count: int = 3, **changes: float) -> list[dict[str, float]]:
    changed = {f"learner/{name}": value for name, value in changes.items()}
    return [{"step": 1000.0 * (i + 1), **HEALTHY, **changed} for i in range(count)]


def evals(*returns: float) -> list[dict[str, float]]:
    return [{"step": 1000.0 * i, "eval/return": value} for i, value in enumerate(returns)]


def test_a_healthy_run_and_an_empty_one_raise_none() -> None:
    assert alarms([], CONFIG) == {} == alarms(rows(10), CONFIG)
    assert alarms([{"step": 1.0, "train/return": 3.0}] * 5, CONFIG) == {}


def test_q_beyond_what_rewards_allow() -> None:
    # 100 from rewards, 0.3 * 2 / (1 - 0.99) = 60 from entropy, twice over
    assert alarms(rows(target_q_max=319.0), CONFIG) == {}
    assert list(alarms(rows(target_q_max=321.0), CONFIG)) == ["q_diverges"]
    assert list(alarms(rows(target_q=-321.0), CONFIG)) == ["q_diverges"]
    assert alarms(rows(2, target_q_max=1e9), CONFIG) == {}
    assert alarms(rows(2, target_q_max=1e9) + rows(1), CONFIG) == {}


def test_q_before_the_first_reward_and_where_rewards_are_rare() -> None:
    assert alarms(rows(q_bound=0.0, entropy=0.0, target_q=0.01, target_q_max=0.02), CONFIG) == {}
    assert list(alarms(rows(q_bound=0.0, entropy=0.0, target_q_max=5.0), CONFIG)) == ["q_diverges"]
    assert alarms(rows(1) + rows(3, q_bound=1.0, entropy=0.0), CONFIG) == {}
    # early rewards were scaled up: what they allowed then is 100 times less today
    scaled = rows(1, reward_scale=1.0) + rows(3, q_bound=1.0, entropy=0.0, reward_scale=0.01)
    assert list(alarms(scaled, CONFIG)) == ["q_diverges"]


def test_a_value_that_is_no_number_has_diverged() -> None:
    assert list(alarms(rows(target_q=float("nan"), target_q_max=float("nan")), CONFIG)) == ["q_diverges"]


def test_temperature() -> None:
    assert list(alarms(rows(temperature=1e-4), CONFIG)) == ["temperature_collapses"]
    late = [row | {"step": 50_000.0} for row in rows(temperature=1e-4)]
    assert alarms(late, CONFIG) == {} == alarms(rows(temperature=1e-2), CONFIG)


def test_saturation() -> None:
    assert list(alarms(rows(action_saturation=0.95), CONFIG)) == ["actions_saturate"]


@pytest.mark.parametrize(
    ("returns", "rings"),
    [
        ((0, 1000, 400, 300, 450), True),
        ((0, 1000, 400, 300, 550), False),
        ((0, 1000, 1100, 1200, 1300), False),
        ((1000, 1100, 900, 900, 900), False),
        ((0, 1000, 100), False),
        ((-1200, -150, -900, -1000, -900), True),
        ((-160, -150, -165, -160, -170), False),
    ],
)
def test_evaluation(returns: tuple[float, ...], rings: bool) -> None:
    assert ("evaluation_stalls" in alarms(evals(*returns), CONFIG)) == rings


def test_a_scale_that_jumps() -> None:
    def scaled(*scales: float) -> list[dict[str, float]]:
        return [rows(1, reward_scale=scale)[0] for scale in scales]

    assert "reward_scale_jumps" in alarms(scaled(1e-2, 1e-2, 5e-3), CONFIG)
    assert "reward_scale_jumps" not in alarms(scaled(1e-2, 8e-3, 6e-3), CONFIG)  # returns that grow as the policy does
    assert "reward_scale_jumps" not in alarms(scaled(1e-2, 5e-3, 5e-3, 5e-3), CONFIG)  # long ago
    begun = dataclasses.replace(CONFIG, log=LogConfig(every=100))  # ten lines of which are the first 1000 steps
    assert "reward_scale_jumps" not in alarms(scaled(1e-2, 1e-2, 5e-3), begun)


def test_values_at_the_end_of_a_categorical_critic() -> None:
    learner = LearnerConfig(critic="categorical", value_range=100.0)
    near, far = rows(target_q_max=91.0), rows(target_q_max=89.0)
    assert list(alarms(near, Config(learner=learner))) == ["values_reach_the_end"]
    scaled = dataclasses.replace(learner, scale_rewards=True)
    assert alarms(far, Config(learner=learner)) == {} == alarms(near, Config(learner=scaled))


def test_lost_contacts() -> None:
    assert list(alarms([{"step": 1.0, "train/overflows": 2.0}], CONFIG)) == ["contacts_are_lost"]
    assert alarms([{"step": 1.0, "train/overflows": 0.0}], CONFIG) == {}


def test_a_bell_that_remembers_few_rows_rings_as_one_that_remembers_all() -> None:
    generator, kept, all_rows = random.Random(0), AlarmBell(CONFIG), []
    for i in range(400):
        row: dict[str, float] = {"train/overflows": float(generator.random() < 0.05)}
        if generator.random() < 0.7:
            changed = {name: HEALTHY[name] * generator.choice([0.01, 1, 1, 1, 5]) for name in HEALTHY}
            row |= changed | {"learner/reward_scale": generator.choice([0.1, 0.2, 1.0])}
        if generator.random() < 0.3:
            row["eval/return"] = generator.gauss(100, 100)
        all_rows.append({"step": i, **row})
        assert kept.columns(i, row, lambda text: None).keys() == {f"alarm/{name}" for name in alarms(all_rows, CONFIG)}
        assert len(kept._rows) < 25


def test_every_alarm_says_what_to_try_in_flags_that_exist() -> None:
    bad = rows(target_q_max=1e9, temperature=1e-9, action_saturation=1.0) + evals(0, 100, 1, 1, 1)
    bad += [
        {"step": 9e3, "learner/reward_scale": 1.0},
        {"step": 1e4, "learner/reward_scale": 0.1, "train/overflows": 1},
    ]
    found = alarms(bad, dataclasses.replace(CONFIG, learner=LearnerConfig(gamma=0.99, critic="categorical")))
    assert found.keys() == ALARMS.keys()
    flags = flags_of(CONFIG)
    for text in found.values():
        named = [word.strip(",.") for word in text.split() if word.startswith("--")]
        assert len(named) >= 2 and all(flag in flags for flag in named), named


def test_the_bell_rings_when_an_alarm_begins_and_marks_every_row() -> None:
    said: list[str] = []
    bell = AlarmBell(CONFIG)
    columns = [
        bell.columns(int(row["step"]), row, said.append)
        for row in [*rows(4, action_saturation=1.0), *rows(3), *rows(3, action_saturation=1.0)]
    ]
    mark = {"alarm/actions_saturate": 1.0}
    assert columns == [{}, {}, mark, mark, {}, {}, {}, {}, {}, mark]
    assert len(said) == 2 and said[0].startswith("alarm: actions saturate")


def test_alarms_of_a_run_are_printed_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes: dict[str, Any] = {"learner": {"actor_lr": 1.0}, "td3": {"exploration_noise": 0.0}}
    path = train(small("td3", run_dir=tmp_path / "run", **changes))
    assert "alarm: actions saturate" in capsys.readouterr().out
    assert rows_of(path)[-1]["alarm/actions_saturate"] == "1.0"
