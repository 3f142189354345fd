"""TD3's own switches."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mjxrl.config import Config, LearnerConfig, Td3Config
from mjxrl.learners import Learner, make_learner
from mjxrl.learners.td3 import policy, td3_actor_loss, td3_target
from mjxrl.networks.parameters import new_network
from mjxrl.networks.spec import NetworkSpec
from mjxrl.replay import Batch, Replay
from mjxrl.worlds.worlds import StepResult
from tests.helpers.learners import measured
from tests.helpers.oracles import q_values

OBS, ACTION, B = 3, 2, 64
SETTINGS = LearnerConfig(batch_size=8, actor_hidden=(8,), critic_hidden=(8,), policy_delay=2, tau=0.1)


def learner_of(**keywords) -> Learner:
    settings = keywords.pop("learner", SETTINGS)
    return make_learner(Config(algo="td3", learner=settings, td3=Td3Config(**keywords)), OBS, ACTION, "cpu")


def batch_of() -> Batch:
    g = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, B, OBS, generator=g)
    action = torch.rand(B, ACTION, generator=g) * 2 - 1
    no = torch.zeros(B, dtype=torch.bool)
    return Batch(obs, action, torch.zeros(B), torch.ones(B), no, next_obs, no, torch.tensor(B))


def filled_replay() -> Replay:
    g = torch.Generator().manual_seed(0)
    replay = Replay(4, OBS, ACTION, capacity=80, time_limit=None, device="cpu")
    replay.start(torch.randn(4, OBS, generator=g))
    no = torch.zeros(4, dtype=torch.bool)
    for _ in range(20):
        obs = torch.randn(4, OBS, generator=g)
        action, reward = torch.rand(4, ACTION, generator=g), torch.randn(4, generator=g)
        replay.append(action, StepResult(obs, reward, no, no, obs))
    return replay


def test_no_target_noise_gives_the_plain_target():
    learner, batch = learner_of(), batch_of()
    layers = learner.algorithm.networks["target_actor"].frozen, learner.algorithm.networks["target_critics"].frozen
    target = td3_target(*layers, batch, torch.randn(B, ACTION) * 9, target_noise=0.0, noise_clip=0.5)
    expected = q_values(layers[1], batch.next_obs, policy(layers[0], batch.next_obs)).min(0).values
    assert torch.equal(target, expected)


@pytest.mark.parametrize("clip", [0.3, 5.0])
def test_target_noise_is_clipped_and_the_action_stays_in_bounds(clip):
    learner, batch = learner_of(), batch_of()
    layers = learner.algorithm.networks["target_actor"].frozen, learner.algorithm.networks["target_critics"].frozen
    target = td3_target(*layers, batch, torch.full((B, ACTION), 100.0), target_noise=0.2, noise_clip=clip)
    action = (policy(layers[0], batch.next_obs) + clip).clamp(max=1)
    assert bool((action == 1).all()) == (clip == 5)
    assert torch.equal(target, q_values(layers[1], batch.next_obs, action).min(0).values)


def test_the_flags_of_the_target_noise_reach_the_target():
    noise = torch.randn(2, 1, B, ACTION, generator=torch.Generator().manual_seed(0))

    def targets(**keywords) -> list[float]:
        learner = learner_of(**keywords)
        for target in (learner.algorithm.networks["target_actor"], learner.algorithm.networks["target_critics"]):
            target.flat.mul_(3)  # far from 0, so that the noise shows
        return [measured(learner, batch_of(), eps, policy_due=False)["target_q"].item() for eps in noise]

    assert len(set(targets(target_noise=0.0))) == len(set(targets(target_noise_clip=0.0))) == 1
    assert len(set(targets(target_noise=0.2))) == 2
    assert targets(target_noise=0.2, target_noise_clip=0.1) != targets(target_noise=0.2, target_noise_clip=0.5)


def test_single_critic_switches_the_minimum_off():
    settings = dataclasses.replace(SETTINGS, num_critics=1)
    learner, batch = learner_of(learner=settings, target_noise=0.0), batch_of()
    targets = learner.algorithm.networks["target_critics"].frozen
    [q] = q_values(targets, batch.next_obs, policy(learner.algorithm.networks["target_actor"].frozen, batch.next_obs))
    metrics = measured(learner, batch, torch.zeros(1, B, ACTION), policy_due=False)
    assert metrics["target_q"].item() == pytest.approx(q.mean().item())
    assert "q2" not in metrics


def test_exploration_noise_is_gaussian_of_that_width():
    learner = learner_of(exploration_noise=0.05)
    obs = torch.zeros(20_000, OBS)
    noise = learner.act(obs, torch.Generator().manual_seed(0)) - learner.act_deterministic(obs)
    assert noise.std().item() == pytest.approx(0.05, rel=0.02) and abs(noise.mean().item()) < 1e-3
    assert torch.equal(learner_of(exploration_noise=0.0).act(obs), learner.act_deterministic(obs))


def test_targets_move_with_the_delayed_policy_only():
    learner, replay, g = learner_of(), filled_replay(), torch.Generator().manual_seed(0)
    networks = learner.algorithm.networks
    for k in range(1, 7):
        before = {name: networks[name].flat.clone() for name in ("target_actor", "target_critics")}
        learner.update(replay, 1, g)
        for name, flat in before.items():
            if k % 2:
                assert torch.equal(networks[name].flat, flat)
            else:
                source = networks[name.removeprefix("target_")].flat
                torch.testing.assert_close(networks[name].flat, 0.9 * flat + 0.1 * source)


def test_actor_follows_the_first_critic_only():
    batch = batch_of()
    g = torch.Generator().manual_seed(0)
    actor = new_network(NetworkSpec(OBS, (8,), ACTION), g, "cpu")
    critics = new_network(NetworkSpec(OBS + ACTION, (8,), 1, members=2), g, "cpu")
    loss = td3_actor_loss(actor.layers, critics.frozen, batch)[0].item()
    for tensor in critics.state_dict():
        layer, kind = tensor.split(".")
        getattr(critics.frozen[int(layer)], kind)[1].add_(1.0)
    assert td3_actor_loss(actor.layers, critics.frozen, batch)[0].item() == loss
