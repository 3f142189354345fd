"""What both learners must do: masks, optimizer, delays, statistics, state."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.config import Config, SacConfig
from mjxrl.learners import make_learner
from mjxrl.learners.optimizer import Adam
from mjxrl.replay import Batch, Replay
from mjxrl.worlds.worlds import StepResult
from tests.helpers.learners import (
    ACTION,
    OBS,
    SMALL,
    WORLDS,
    both,
    filled_replay,
    learner_of,
    measured,
    random_batch,
    same,
    without,
)

NORMS: dict[str, dict[str, Any]] = {
    "layer": {"critic_norm": "layer"},
    "batch": {"critic_norm": "batch", "actor_norm": "batch"},
}


def test_the_mean_of_a_batch_ignores_nan_and_an_empty_batch():
    batch = random_batch(size=3)
    values = torch.tensor([[1.0, torch.nan, 3.0], [0.0, torch.inf, 5.0]])
    assert without(batch, [1]).mean(values).tolist() == [2.0, 2.5]
    assert without(batch, slice(None)).mean(values[0]).item() == 0


def test_adam_equals_the_paper():
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.normal(size=6))
    parts = [values[:4].detach().requires_grad_(), values[4:].detach().requires_grad_()]
    adam = Adam(values, parts, lr=0.1)
    x, m, v = values.numpy().copy(), np.zeros(6), np.zeros(6)
    scale = torch.tensor(rng.normal(size=6))
    for t in range(1, 8):
        adam.step(adam.gradient((scale[:4] * parts[0] ** 3).sum() + (scale[4:] * parts[1] ** 3).sum()))
        g = 3 * scale.numpy() * x**2
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(values.numpy(), x, rtol=1e-9)


@both
def test_same_seed_same_updates(algo):
    replay = filled_replay()
    one, two, other = learner_of(algo), learner_of(algo), learner_of(algo, seed=1)
    assert same(one.state_dict(), two.state_dict())
    metrics = [x.update(replay, 5, torch.Generator().manual_seed(7)) for x in (one, two)]
    assert same(*metrics) and same(one.state_dict(), two.state_dict())
    assert not torch.equal(one.algorithm.actor.flat, other.algorithm.actor.flat)


@both
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_state_round_trip_continues_bit_for_bit(algo, norm):
    """Optimizer moments, temperature, targets, statistics and the phase of the policy delay included."""
    replay = filled_replay()
    settings = {"policy_delay": 3, "normalize_obs": True, "n_step": 3, **NORMS[norm]}
    one, two = learner_of(algo, **settings), learner_of(algo, seed=9, **settings)
    g = torch.Generator().manual_seed(7)
    for _ in range(4):
        one.start(torch.randn(WORLDS, OBS) * 3)
    one.update(replay, 4, g)
    two.load_state_dict({name: tensor.clone() for name, tensor in one.state_dict().items()})
    g_two = torch.Generator()
    g_two.set_state(g.get_state())
    metrics = one.update(replay, 8, g), two.update(replay, 8, g_two)
    assert same(*metrics) and same(one.state_dict(), two.state_dict())
    obs = torch.randn(6, OBS)
    assert torch.equal(one.act_deterministic(obs), two.act_deterministic(obs))


@both
def test_state_is_a_copy_and_is_copied_in(algo):
    replay = filled_replay()
    learner = learner_of(algo, normalize_obs=True)
    state = learner.state_dict()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    address = learner.algorithm.critics.flat.data_ptr()
    learner.start(torch.randn(8, OBS))
    learner.update(replay, 3, torch.Generator().manual_seed(0))
    assert same(state, kept) and not same(state, learner.state_dict())
    learner.load_state_dict(state)
    assert same(kept, learner.state_dict()) and learner.algorithm.critics.flat.data_ptr() == address
    learner.update(replay, 3, torch.Generator().manual_seed(0))
    assert same(state, kept)  # loading did not rebind


@both
@pytest.mark.parametrize("damage", ["missing", "unknown", "shape"])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(algo, damage):
    learner, state = learner_of(algo), learner_of(algo, seed=1).state_dict()
    if damage == "missing":
        del state["critics.0.weight"]
    elif damage == "unknown":
        state["critics.9.weight"] = torch.zeros(1)
    else:
        state["critics.0.weight"] = torch.zeros(2, 3, 4)
    before = learner.state_dict()
    with pytest.raises(ValueError, match=r"critics\.[09]\.weight"):
        learner.load_state_dict(state)
    assert same(before, learner.state_dict())


@both
def test_load_weights_takes_networks_and_statistics_and_nothing_else(algo):
    replay = filled_replay()
    source, learner = learner_of(algo, normalize_obs=True), learner_of(algo, seed=1, normalize_obs=True)
    source.start(torch.randn(50, OBS) * 4 + 1)
    source.update(replay, 4, torch.Generator().manual_seed(0))
    fresh = learner.state_dict()
    learner.load_weights(source.state_dict())
    loaded, given = learner.state_dict(), source.state_dict()
    for name, tensor in loaded.items():
        part = name.split(".")[0]
        is_weight = part in ("actor", "critics", "target_critics", "target_actor", "norm")
        assert torch.equal(tensor, (given if is_weight else fresh)[name]), name


@both
def test_actor_and_statistics_are_enough_to_act(algo):
    source, other = learner_of(algo, normalize_obs=True), learner_of(algo, seed=1, normalize_obs=True)
    source.start(torch.randn(50, OBS) * 4 + 1)
    policy = {name: x for name, x in source.state_dict().items() if name.startswith(("actor.", "norm."))}
    other.load_state_dict(other.state_dict() | policy)
    obs = torch.randn(3, OBS)
    assert torch.equal(source.act_deterministic(obs), other.act_deterministic(obs))


@both
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_nan_in_an_invalid_transition_reaches_nothing(algo, norm):
    """The same parameters come out whatever the invalid rows contain."""
    results = []
    for poison in (0.0, torch.nan, torch.inf):
        learner = learner_of(algo, normalize_obs=True, **NORMS[norm])
        batch = random_batch()
        for tensor in (batch.obs, batch.action, batch.reward, batch.next_obs):
            tensor[3] = tensor[7] = poison
        batch = without(batch, [3, 7])
        noise = torch.randn(learner.algorithm.noise_per_update, 16, ACTION, generator=torch.Generator().manual_seed(0))
        prepared = learner.prepare(batch)
        metrics = measured(learner, prepared, noise, policy_due=True)
        assert all(bool(value.isfinite()) for value in metrics.values())
        assert bool(learner.algorithm.critics.flat.isfinite().all()) and bool(
            learner.algorithm.actor.flat.isfinite().all()
        )
        results.append(learner.state_dict())
    assert same(results[0], results[1]) and same(results[0], results[2])


@both
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_invalid_transitions_count_for_nothing(algo, norm):
    """Dropping them from the batch gives the same step."""
    batch = without(random_batch(torch.float64), slice(None, None, 3))
    keep = ~batch.invalid
    noise = torch.randn(2, 16, ACTION, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = []
    for rows in (torch.ones(16, dtype=torch.bool), keep):
        learner = learner_of(algo, torch.float64, **NORMS[norm])
        part = learner.prepare(Batch._make([*(tensor[rows] for tensor in batch[:-1]), batch.counted]))
        draws = noise[: learner.algorithm.noise_per_update, rows]
        measured(learner, part, draws, policy_due=True)
        states.append(learner.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-7, atol=1e-10)


@both
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_batch_without_valid_transitions_moves_nothing_to_nan(algo, norm):
    learner = learner_of(algo, **NORMS[norm])
    empty = without(random_batch(), slice(None))
    batch = learner.prepare(empty._replace(reward=torch.full((16,), torch.nan)))
    measured(learner, batch, torch.zeros(learner.algorithm.noise_per_update, 16, ACTION), policy_due=True)
    assert bool(learner.algorithm.critics.flat.isfinite().all()) and bool(learner.algorithm.actor.flat.isfinite().all())


@both
def test_both_ends_of_a_transition_have_the_same_statistics_and_updates_leave_them(algo):
    learner = learner_of(algo, normalize_obs=True)
    learner.start(torch.randn(100, OBS) * 5 + 2)
    batch = random_batch()
    prepared = learner.prepare(batch._replace(next_obs=batch.obs))
    assert torch.equal(prepared.obs, prepared.next_obs) and not torch.equal(prepared.obs, batch.obs)
    assert torch.equal(prepared.obs, learner.norm.normalize(batch.obs))
    before = learner.norm.state_dict()
    learner.update(filled_replay(), 3, torch.Generator().manual_seed(0))
    learner.act(batch.obs, torch.Generator())
    assert same(before, learner.norm.state_dict())


@both
def test_observe_masks_quarantined_worlds(algo):
    learner = learner_of(algo, normalize_obs=True)
    obs = torch.randn(6, OBS)
    obs[2] = torch.nan
    no = torch.zeros(6, dtype=torch.bool)
    learner.observe(StepResult(obs, obs[:, 0], no, no, obs, torch.arange(6) != 2))
    assert learner.norm.count.item() == 5 and bool(learner.norm.mean.isfinite().all())


@both
@pytest.mark.parametrize("delay", [1, 2, 3])
def test_policy_moves_once_every_delay(algo, delay):
    replay, g = filled_replay(), torch.Generator().manual_seed(0)
    learner = learner_of(algo, policy_delay=delay)
    for k in range(1, 8):
        actor, critics = learner.algorithm.actor.flat.clone(), learner.algorithm.critics.flat.clone()
        metrics = learner.update(replay, 1, g)
        assert torch.equal(actor, learner.algorithm.actor.flat) == (k % delay != 0)
        assert ("actor_loss" in metrics) == (k % delay == 0)
        assert not torch.equal(critics, learner.algorithm.critics.flat)
    # One call or many: the phase of the delay goes on.
    assert learner.update(replay, delay, g).keys() >= {"actor_loss", "critic_loss", "q"}


@both
@pytest.mark.parametrize(
    "settings",
    [
        {"num_critics": 1},
        {"num_critics": 4, "critic_norm": "layer"},
        {"n_step": 4},
        {"critic_norm": "batch"},
        {"actor_norm": "batch"},
        {"blocks": True, "critic_norm": "layer"},
        {"actor_hidden": (8,), "critic_hidden": (8, 8, 8)},
        {"normalize_obs": True},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_setting_trains(algo, settings, dtype):
    learner = learner_of(algo, dtype, **settings)
    if settings.get("normalize_obs"):
        learner.start(torch.randn(32, OBS, dtype=dtype))
    metrics = learner.update(filled_replay(dtype), 4, torch.Generator().manual_seed(0))
    assert all(value.dim() == 0 and bool(value.isfinite()) for value in metrics.values())
    assert all(bool(tensor.isfinite().all()) for tensor in learner.state_dict().values())
    assert learner.act(torch.randn(3, OBS, dtype=dtype)).dtype == dtype


@both
def test_tau_one_copies_the_networks(algo):
    learner = learner_of(algo, tau=1.0)
    learner.update(filled_replay(), 3, torch.Generator().manual_seed(0))
    assert torch.equal(learner.algorithm.networks["target_critics"].flat, learner.algorithm.critics.flat)


@both
def test_exploring_actions_stay_in_bounds_and_follow_the_generator(algo):
    learner = learner_of(algo)
    obs = torch.randn(256, OBS) * 10
    actions = [learner.act(obs, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert actions[0].shape == (256, ACTION) and actions[0].abs().max() <= 1
    assert torch.equal(actions[0], actions[1]) and not torch.equal(actions[0], actions[2])
    assert torch.equal(learner.act_deterministic(obs), learner.act_deterministic(obs))
    assert not actions[0].requires_grad


@both
@pytest.mark.parametrize(("terminated", "value"), [(False, 2.0), (True, 1.0)])
def test_critics_learn_the_value_of_a_probe(algo, terminated, value):
    """One state, reward 1, episodes of one step: Q = 1 / (1 - gamma) if they are truncated, 1 if they terminate."""
    settings = dataclasses.replace(SMALL, gamma=0.5, tau=0.1, critic_lr=3e-3)
    fixed = SacConfig(init_temperature=1e-6, auto_temperature=False)
    learner = make_learner(Config(algo=algo, learner=settings, sac=fixed), 1, 1, "cpu")
    replay = Replay(4, 1, 1, capacity=64, time_limit=1, device="cpu")
    state, ended = torch.zeros(4, 1), torch.full((4,), terminated)
    replay.start(state)
    g = torch.Generator().manual_seed(0)
    for _ in range(16):
        action = torch.rand(4, 1, generator=g) * 2 - 1
        replay.append(action, StepResult(state, torch.ones(4), ended, ~ended, state))
    learner.update(replay, 400, g)
    assert learner.update(replay, 1, g)["q"].item() == pytest.approx(value, abs=0.1)
