"""An actor with BatchNorm: the batch's statistics in its own loss, running ones wherever it acts; float64 oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.learners import Learner
from mjxrl.networks.batch_norm import MOMENTUM
from tests.helpers.learners import OBS, both, filled_replay, learner_of, moved, random_batch, same, without
from tests.helpers.oracles import (
    F64,
    as_numpy,
    assert_flat_gradient,
    batch_norm_joint,
    batch_norm_running,
    mean_over_valid,
    min_q,
    numeric_gradient,
    squashed,
)

NORMED: dict[str, Any] = {"actor_norm": "batch", "actor_hidden": (6, 4), "critic_hidden": (7,), "policy_delay": 1}
NOISE = torch.randn(2, 16, 2, dtype=F64, generator=torch.Generator().manual_seed(5))
OTHERS = torch.randn(9, OBS, dtype=F64, generator=torch.Generator().manual_seed(6))


def normed(algo: str) -> Learner:
    """With parameters and statistics far from the first ones."""
    learner = moved(learner_of(algo, F64, **NORMED))
    assert learner.algorithm.actor.statistics is not None
    learner.algorithm.actor.statistics.uniform_(0.5, 2, generator=torch.Generator().manual_seed(3))
    return learner


def numbers(learner: Learner, name: str = "actor") -> dict[str, np.ndarray]:
    return {key: x.numpy().copy() for key, x in learner.algorithm.networks[name].state_dict().items()}


@both
def test_its_loss_is_under_the_statistics_of_the_valid_rows(algo: str) -> None:
    learner, batch = normed(algo), without(random_batch(F64), [2, 7, 12])
    before = learner.state_dict()
    found, data = learner.algorithm.policy_gradient(batch, NOISE), as_numpy(batch)
    assert same(before, learner.state_dict())
    actor, critics = numbers(learner), numbers(learner, "critics")

    def loss() -> float:
        outputs = batch_norm_joint(actor, 0, data["obs"], data["obs"], ~batch.invalid)[0]
        if algo == "td3":
            return -mean_over_valid(min_q(critics, data["obs"], np.tanh(outputs)), data)
        action, log_prob = squashed(outputs, NOISE[1].numpy())
        return mean_over_valid(log_prob - min_q(critics, data["obs"], action), data)  # alpha is 1 at first

    assert found.loss.item() == pytest.approx(loss(), rel=1e-9)
    assert_flat_gradient(found.gradients["actor"], learner.algorithm.actor, numeric_gradient(loss, actor))


@both
def test_running_statistics_follow_the_batches_of_its_own_updates(algo: str) -> None:
    learner, batch = normed(algo), without(random_batch(F64), [0, 5])
    actor = numbers(learner)
    moments = batch_norm_joint(actor, 0, batch.obs.numpy(), batch.obs.numpy(), ~batch.invalid)[3]
    learner.updates.update(batch, NOISE, policy_due=False)
    assert all(np.array_equal(actor[name], x) for name, x in numbers(learner).items())
    learner.updates.update(batch, NOISE, policy_due=True)
    after = numbers(learner)
    for i, (mean, var) in enumerate(moments):
        for name, value in (("mean", mean), ("var", var)):
            wanted = (1 - MOMENTUM) * value + MOMENTUM * actor[f"{i}.{name}"][0, 0]
            np.testing.assert_allclose(after[f"{i}.{name}"][0, 0], wanted, rtol=1e-9)


@both
def test_it_acts_under_the_running_ones(algo: str) -> None:
    learner = normed(algo)
    outputs = batch_norm_running(numbers(learner), 0, OTHERS.numpy())
    np.testing.assert_allclose(learner.act_deterministic(OTHERS), np.tanh(outputs[:, :2]), rtol=1e-9)


@both
def test_what_follows_it_has_its_statistics_too(algo: str) -> None:
    """A target actor, and the average that is evaluated."""
    learner, replay = learner_of(algo, F64, policy_average=0.5, **NORMED), filled_replay(F64)
    learner.update(replay, 40, torch.Generator().manual_seed(0))
    networks = learner.algorithm.networks
    followers = [networks[name] for name in networks if name.endswith("_actor")]
    assert len(followers) == (2 if algo == "td3" else 1)
    assert learner.algorithm.actor.statistics is not None
    first = torch.cat(
        [
            torch.full_like(x, float(name.endswith("var"))).reshape(-1)
            for name, x in learner.algorithm.actor.state_dict().items()
            if name.endswith(("mean", "var"))
        ]
    )
    way = (learner.algorithm.actor.statistics - first).norm()
    for follower in followers:
        assert follower.statistics is not None
        left = (follower.statistics - learner.algorithm.actor.statistics).norm()
        assert 0 < left < 0.95 * way


@both
def test_weights_without_statistics_are_refused_by_name(algo: str) -> None:
    learner, source = learner_of(algo, **NORMED), learner_of(algo, **{**NORMED, "actor_norm": "none"})
    before = learner.state_dict()
    with pytest.raises(ValueError, match=r"actor\.0\.mean is missing"):
        learner.load_weights(source.state_dict())
    assert same(before, learner.state_dict())
