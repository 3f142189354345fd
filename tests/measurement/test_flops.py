"""The arithmetic of an update, against counts by hand."""

from __future__ import annotations

from typing import Any

import pytest

from mjxrl.config import Algorithm, Config
from mjxrl.config.presets import merged
from mjxrl.measurement.flops import forward, per_update

SMALL = {"batch_size": 2, "actor_hidden": (4,), "critic_hidden": (5,), "policy_delay": 1, "num_critics": 2}


def config(algo: Algorithm, **learner: Any) -> Config:
    return merged(Config(algo=algo), {"learner": {**SMALL, **learner}})


def test_a_pass_is_two_operations_for_each_weight_and_row() -> None:
    assert forward([(3, 4), (4, 1)], batch=2) == 2 * 2 * (3 * 4 + 4 * 1)


@pytest.mark.parametrize(
    ("algo", "learner", "expected"),
    [
        # O = 3, A = 1, B = 2. TD3's actor 3-4-1: 64, its first layer 48. A critic 4-5-1: 100, its first layer 80.
        # Critic update: 64 for a', 2 x 100 for the targets, then 2 x (100 forward + 100 weights + 20 inputs).
        # Policy update on one critic: 64 + 100, back through the critic 20 and 2 x 2 x 1 x 5 for da, the actor 64 + 16.
        ("td3", {"actor_q": "first"}, 64 + 200 + 440 + (64 + 100 + 20 + 20 + 64 + 16)),
        ("td3", {"actor_q": "first", "policy_delay": 2}, 64 + 200 + 440 + 284 / 2),
        ("td3", {"actor_q": "min"}, 64 + 200 + 440 + (64 + 2 * (100 + 20 + 20) + 64 + 16)),
        # SAC's actor 3-4-2: 80
        ("sac", {"actor_q": "min"}, 80 + 200 + 440 + (80 + 2 * 140 + 80 + 32)),
        # seven atoms: a critic 4-5-7 is 80 + 140 = 220, of which 140 go back to the inputs
        (
            "td3",
            {"actor_q": "first", "critic": "categorical", "atoms": 7},
            64 + 440 + 2 * (220 + 220 + 140) + (64 + 220 + 140 + 20 + 64 + 16),
        ),
    ],
)
def test_an_update_by_hand(algo: Algorithm, learner: dict[str, Any], expected: float) -> None:
    assert per_update(config(algo, **learner), obs_size=3, action_size=1) == expected
