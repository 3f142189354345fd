"""The categorical critic (C51) against a NumPy oracle that goes atom by atom, as algorithm 1 of the paper does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mjxrl.learners import sac, td3
from mjxrl.learners.values import SCALAR, Categorical, q_for_actor
from mjxrl.networks.mlp import critic_outputs
from mjxrl.networks.parameters import new_network
from mjxrl.networks.spec import NetworkSpec
from tests.helpers.oracles import ACTION, F64, OBS, B, as_numpy, make_network

ATOMS, LIMIT = 7, 3.0


def value_of(atoms=ATOMS, limit=LIMIT) -> Categorical:
    return Categorical(atoms, limit, "cpu", F64)


def projected(returns: np.ndarray, probabilities: np.ndarray, atoms=ATOMS, limit=LIMIT) -> np.ndarray:
    """One row, one atom at a time."""
    support, out = np.linspace(-limit, limit, atoms), np.zeros((len(returns), atoms))
    for row in range(len(returns)):
        for z, p in zip(returns[row], probabilities[row], strict=True):
            b = min((np.clip(z, -limit, limit) + limit) / (support[1] - support[0]), atoms - 1)
            low, high = int(np.floor(b)), int(np.ceil(b))
            if low == high:
                out[row, low] += p
            else:
                out[row, low] += p * (high - b)
                out[row, high] += p * (b - low)
    return out


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@given(
    atoms=st.integers(2, 12),
    limit=st.floats(0.1, 50),
    m=st.integers(1, 9),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_projection_equals_brute_force(atoms, limit, m, seed):
    rng = np.random.default_rng(seed)
    returns = rng.normal(size=(4, m)) * limit
    returns[0, 0], returns[1, 0] = limit, -limit  # exactly on the outer atoms
    returns[2, 0] = np.linspace(-limit, limit, atoms)[atoms // 2]
    probabilities = softmax(rng.normal(size=(4, m)))
    got = value_of(atoms, limit).project(torch.tensor(returns), torch.tensor(probabilities)).numpy()
    np.testing.assert_allclose(got, projected(returns, probabilities, atoms, limit), atol=1e-8)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-12)
    inside = np.clip(returns, -limit, limit)
    np.testing.assert_allclose(
        got @ np.linspace(-limit, limit, atoms), (inside * probabilities).sum(-1), atol=1e-9 * limit
    )


def test_a_single_return_becomes_two_hot():
    got = value_of().project(torch.tensor([[0.25], [-9.0], [3.0]], dtype=F64), torch.ones(3, 1, dtype=F64))
    wanted = [[0, 0, 0, 0.75, 0.25, 0, 0], [1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-12)


def test_expectation_is_q():
    outputs = torch.randn(2, 5, ATOMS, dtype=F64)
    wanted = softmax(outputs.numpy()) @ np.linspace(-LIMIT, LIMIT, ATOMS)
    np.testing.assert_allclose(value_of().q(outputs).numpy(), wanted, rtol=1e-10)


def categorical_oracle(data, next_outputs, bonus):
    """The least critic's atoms, each moved by r + gamma (z + bonus), unless the episode has ended."""
    support = np.linspace(-LIMIT, LIMIT, ATOMS)
    probabilities = softmax(next_outputs)
    chosen = probabilities[(probabilities @ support).argmin(0), np.arange(B)]
    going_on = ~data["terminated"][:, None]
    returns = data["reward"][:, None] + going_on * data["discount"][:, None] * (support + bonus[:, None])
    return projected(returns, chosen)


def cross_entropy(data, outputs, target):
    keep = ~data["invalid"]
    each = -(target * np.log(softmax(outputs))).sum(-1)
    return sum(member[keep].mean() for member in each)


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_targets_and_losses(batch, noise, algo, members):
    data, value = as_numpy(batch), value_of()
    actor, _ = make_network((OBS, 6, ACTION * (1 if algo == "td3" else 2)), 1)
    sizes = (OBS + ACTION, 7, ATOMS)
    critics, _ = make_network(sizes, 3, members=members, norm="layer", activation="silu")
    targets, _ = make_network(sizes, 4, members=members)
    alpha = torch.tensor(0.3, dtype=F64)
    if algo == "td3":
        target = td3.td3_target(
            actor.frozen, targets.frozen, batch, noise, target_noise=0.4, noise_clip=0.5, value=value
        )
        action = (td3.policy(actor.frozen, batch.next_obs) + (0.4 * noise).clamp(-0.5, 0.5)).clamp(-1, 1)
        bonus, scale = torch.zeros(B), 1.0
        loss, said = td3.td3_critic_loss(critics.layers, batch, target, value)
    else:
        target = sac.sac_target(actor.frozen, targets.frozen, batch, noise, alpha, value)
        action, log_prob = sac.squashed_sample(sac.policy(actor.frozen, batch.next_obs), noise)
        bonus, scale = -alpha * log_prob, 0.5
        loss, said = sac.sac_critic_loss(critics.layers, batch, target, value)
    next_outputs = critic_outputs(targets.frozen, batch.next_obs, action).numpy()
    np.testing.assert_allclose(target.numpy(), categorical_oracle(data, next_outputs, bonus.numpy()), atol=1e-10)
    outputs = critic_outputs(critics.frozen, batch.obs, batch.action)
    assert loss.item() == pytest.approx(scale * cross_entropy(data, outputs.numpy(), target.numpy()), rel=1e-10)
    torch.testing.assert_close(said, outputs)
    assert not said.requires_grad


def test_an_invalid_transition_does_not_count(batch, noise):
    value = value_of()
    critics, _ = make_network((OBS + ACTION, 7, ATOMS), 3, members=2)
    target = value.project(batch.reward[:, None], torch.ones(B, 1, dtype=F64))
    loss, _ = td3.td3_critic_loss(critics.layers, batch, target, value)
    target[batch.invalid] = torch.nan
    poisoned, _ = td3.td3_critic_loss(critics.layers, batch, target, value)
    assert loss.item() == poisoned.item()


@pytest.mark.parametrize("value", [SCALAR, value_of()])
def test_the_policy_climbs_what_it_is_told(value):
    critics, _ = make_network((OBS + ACTION, 7, ATOMS if isinstance(value, Categorical) else 1), 3, members=3)
    obs, action = torch.randn(5, OBS, dtype=F64), torch.randn(5, ACTION, dtype=F64)
    q = value.q(critic_outputs(critics.frozen, obs, action))
    for which, wanted in (("first", q[0]), ("min", q.amin(0)), ("mean", q.mean(0))):
        torch.testing.assert_close(q_for_actor(critics.frozen, obs, action, value, which), wanted)


def test_first_values_are_near_zero():
    g = torch.Generator().manual_seed(0)
    critics = new_network(NetworkSpec(8, (32,), ATOMS, members=2), g, "cpu", F64, output_scale=0.01)
    outputs = critic_outputs(critics.frozen, torch.randn(64, 6, dtype=F64), torch.randn(64, 2, dtype=F64))
    assert value_of().q(outputs).abs().max() < 0.05
