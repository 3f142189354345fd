"""TD3 and SAC with BatchNorm critics (CrossQ): one joint forward, no targets, against a float64 oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import learners
from tests.helpers.learners import both, filled_replay, learner_of, moved, random_batch, same, without
from tests.helpers.oracles import (
    F64,
    as_numpy,
    assert_flat_gradient,
    batch_norm_joint,
    mean_over_valid,
    mlp,
    numeric_gradient,
    squashed_gaussian,
)

BATCH_NORM: dict[str, Any] = {"critic_norm": "batch", "actor_hidden": (6,), "critic_hidden": (7, 5)}


@both
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("categorical", [False, True])
def test_loss_target_and_gradient(algo: str, half: bool, categorical: bool) -> None:
    value = {"critic": "categorical", "atoms": 9, "value_range": 3.0} if categorical else {}
    learner = moved(learner_of(algo, F64, half_gradient=half, **BATCH_NORM, **value))
    batch = without(random_batch(F64), [2, 7, 12])
    noise = torch.randn(2, 16, 2, dtype=F64, generator=torch.Generator().manual_seed(5))
    found = learner.algorithm.critic_gradient(batch, noise)
    data = as_numpy(batch)
    actor, critics = (
        {name: x.numpy().copy() for name, x in network.state_dict().items()}
        for network in (learner.algorithm.actor, learner.algorithm.critics)
    )
    if algo == "td3":
        action = np.tanh(mlp(actor, 0, data["next_obs"])) + np.clip(0.2 * noise[0].numpy(), -0.5, 0.5)
        action, bonus = np.clip(action, -1, 1), np.zeros(16)
    else:
        action, log_prob = squashed_gaussian(actor, data["next_obs"], noise[0].numpy())
        bonus = -log_prob  # alpha is 1 at first
    ends = np.concatenate([data["obs"], data["action"]], -1), np.concatenate([data["next_obs"], action], -1)
    there = [batch_norm_joint(critics, e, *ends, ~batch.invalid) for e in range(2)]
    outputs = np.stack([next_outputs for _, next_outputs, _, _ in there])
    live = np.where(data["terminated"], 0, data["discount"])
    if categorical:
        support = np.linspace(-3, 3, 9)
        probabilities = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        least = (probabilities @ support).argmin(0)
        wanted = np.zeros((16, 9))
        for b in range(16):
            for atom, p in zip(support, probabilities[least[b], b], strict=True):
                place = (np.clip(data["reward"][b] + live[b] * (atom + bonus[b]), -3, 3) + 3) / 0.75
                wanted[b] += p * np.maximum(0, 1 - np.abs(np.arange(9) - place))
    else:
        wanted = data["reward"] + live * (outputs[..., 0].min(0) + bonus)
    keep = ~data["invalid"]
    np.testing.assert_allclose(found.target.numpy()[keep], wanted[keep], rtol=1e-8)

    constants = [inputs for _, _, inputs, _ in there] if half else [None, None]

    def loss() -> float:
        total = 0.0
        for e in range(2):
            said = batch_norm_joint(critics, e, *ends, ~batch.invalid, constants[e])[0]
            if categorical:
                error = -(wanted * (said - np.log(np.exp(said).sum(-1, keepdims=True)))).sum(-1)
            else:
                error = (said[:, 0] - wanted) ** 2
            total += mean_over_valid(error, data)
        return total if algo == "td3" else 0.5 * total

    assert found.loss.item() == pytest.approx(loss(), rel=1e-9)
    assert_flat_gradient(found.gradients["critic"], learner.algorithm.critics, numeric_gradient(loss, critics))


@both
def test_there_are_no_targets_and_gradients_change_nothing(algo: str) -> None:
    learner = learner_of(algo, F64, **BATCH_NORM)
    assert learner.algorithm.networks.keys() == {"actor", "critics"}
    before = learner.state_dict()
    noise = torch.zeros(2, 16, 2, dtype=F64)
    critics = learner.algorithm.critic_gradient(random_batch(F64), noise)
    learner.algorithm.policy_gradient(random_batch(F64), noise)
    assert same(before, learner.state_dict())
    learner.updates.update(random_batch(F64), noise, policy_due=False)
    assert critics.drift is not None and critics.drift.abs().max() > 0.1
    names = [f"critics.{name}" for name in learner.algorithm.critics.spec.statistics]
    first, then = (torch.cat([x[name].reshape(-1) for name in names]) for x in (before, learner.state_dict()))
    torch.testing.assert_close(then, first + 0.01 * critics.drift)


@both
def test_weights_of_critics_with_another_norm_are_refused_by_name(algo: str) -> None:
    learner, source = learner_of(algo, **BATCH_NORM), learner_of(algo, **{**BATCH_NORM, "critic_norm": "layer"})
    before = learner.state_dict()
    with pytest.raises(ValueError, match=r"critics\.0\.mean is missing"):
        learner.load_weights(source.state_dict())
    assert same(before, learner.state_dict())


# not SAC with BatchNorm in the actor: entropy and value nearly cancel in its loss, and rounding is much of what is left
NEAR = [
    (algo, settings)
    for algo in ("td3", "sac")
    for settings in learners.SETTINGS[3:]
    if algo == "td3" or "actor_norm" not in settings
]


@pytest.mark.parametrize(("algo", "settings"), NEAR)
def test_bf16_stays_near_float32(algo: str, settings: dict[str, Any]) -> None:
    pair = [learner_of(algo, bf16=on, **{**settings, "policy_delay": 1}) for on in (False, True)]
    learners.assert_same_losses(filled_replay(), pair, rtol=0.05)


def test_the_option_of_adam() -> None:
    learner, replay = learner_of("sac", F64, adam_beta1=0.0), filled_replay(F64)
    learner.update(replay, 1, torch.Generator().manual_seed(0))
    for name in ("actor", "critic", "temperature"):  # without memory the first moment is the gradient
        state = learner.state_dict()
        first, second = state[f"{name}_adam.exp_avg"], state[f"{name}_adam.exp_avg_sq"]
        torch.testing.assert_close(first.square() * 1e-3, second)
