"""SAC's density, temperature and switches."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from mjxrl.config import Config, LearnerConfig, SacConfig
from mjxrl.learners import Learner, make_learner
from mjxrl.learners.sac import LOG_STD_MAX, LOG_STD_MIN, SAC, Gaussian, policy, squashed_sample
from mjxrl.replay import Replay
from mjxrl.worlds.worlds import StepResult

OBS, ACTION = 3, 2
F64 = torch.float64


def learner_of(**keywords) -> Learner:
    settings = LearnerConfig(
        batch_size=32, actor_hidden=(8,), critic_hidden=(8,), policy_delay=keywords.pop("policy_delay", 1), tau=0.1
    )
    return make_learner(Config(algo="sac", learner=settings, sac=SacConfig(**keywords)), OBS, ACTION, "cpu")


def sac(**keywords) -> SAC:
    algorithm = learner_of(**keywords).algorithm
    assert isinstance(algorithm, SAC)
    return algorithm


def log_alpha(learner: Learner) -> torch.Tensor:
    return learner.state_dict()["log_alpha"]


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


def test_log_density_equals_torch_distributions():
    g = torch.Generator().manual_seed(0)
    mean, log_std, noise = torch.randn(3, 500, 4, dtype=F64, generator=g)
    action, log_prob = squashed_sample(Gaussian(mean, log_std), noise)
    # The cache keeps the exact u of each action, which atanh could not recover.
    tanh = TanhTransform(cache_size=1)
    distribution = TransformedDistribution(Normal(mean, log_std.exp()), [tanh])
    expected = tanh(mean + log_std.exp() * noise)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(action, expected)
    torch.testing.assert_close(log_prob, distribution.log_prob(expected).sum(-1))


def test_log_density_integrates_to_one():
    """Monte Carlo: the mean over pi of uniform density / pi is the measure of [-1, 1]^2, i.e. 1."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(400_000, 2, dtype=F64, generator=g)
    mean, log_std = (torch.tensor([row], dtype=F64).expand_as(noise) for row in ([0.3, -0.2], [0.2, 0.1]))
    _, log_prob = squashed_sample(Gaussian(mean, log_std), noise)
    assert (0.25 * (-log_prob).exp()).mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_log_density_and_gradient_stay_finite_in_saturation(dtype):
    mean = torch.tensor([[60.0, -60.0, 0.0]], dtype=dtype, requires_grad=True)
    log_std = torch.tensor([[2.0, -20.0, -20.0]], dtype=dtype, requires_grad=True)
    action, log_prob = squashed_sample(Gaussian(mean, log_std), torch.ones(1, 3, dtype=dtype))
    (action.sum() + log_prob.sum()).backward()
    assert bool(log_prob.isfinite().all())
    assert mean.grad is not None and bool(mean.grad.isfinite().all())
    assert log_std.grad is not None and bool(log_std.grad.isfinite().all())
    # d log pi / d mean = 2 tanh(u), whose limits are +-2.
    torch.testing.assert_close(mean.grad[0, :2], torch.tensor([2.0, -2.0], dtype=dtype))


def test_log_std_is_bounded():
    learner = learner_of()
    learner.algorithm.actor.frozen[-1].bias.fill_(1e3)
    assert policy(learner.algorithm.actor.frozen, torch.randn(4, OBS)).log_std.max() == LOG_STD_MAX
    learner.algorithm.actor.frozen[-1].bias.fill_(-1e3)
    assert policy(learner.algorithm.actor.frozen, torch.randn(4, OBS)).log_std.min() == LOG_STD_MIN


def test_deterministic_action_is_tanh_of_the_mean_and_samples_are_spread_around_it():
    learner = learner_of()
    obs = torch.randn(1, OBS).expand(50_000, OBS)
    gaussian = policy(learner.algorithm.actor.frozen, obs)
    torch.testing.assert_close(learner.act_deterministic(obs), gaussian.mean.tanh())
    u = learner.act(obs, torch.Generator().manual_seed(0)).double().atanh()
    torch.testing.assert_close(u.mean(0).float(), gaussian.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(u.std(0).float(), gaussian.log_std[0].exp(), atol=0.03, rtol=0)


def test_fixed_temperature_stays():
    learner = learner_of(init_temperature=0.3, auto_temperature=False)
    metrics = learner.update(filled_replay(), 5, torch.Generator().manual_seed(0))
    assert log_alpha(learner).item() == pytest.approx(math.log(0.3))
    assert metrics["temperature"].item() == pytest.approx(0.3)
    assert learner.state_dict()["temperature_adam.step"] == 0


@pytest.mark.parametrize(("target", "rises"), [(50.0, True), (-50.0, False)])
def test_temperature_moves_towards_the_target_entropy(target, rises):
    learner = learner_of(init_temperature=0.3, target_entropy=target)
    learner.update(filled_replay(), 5, torch.Generator().manual_seed(0))
    assert (log_alpha(learner).item() > math.log(0.3)) == rises


def test_target_entropy_defaults_to_minus_the_action_size():
    assert sac().target_entropy == -ACTION
    assert sac(target_entropy=-0.5).target_entropy == -0.5
    assert sac(target_entropy=0.0).target_entropy == 0.0


def test_target_entropy_of_a_standard_deviation():
    wanted = torch.distributions.Normal(0.0, 0.15).entropy().item() * ACTION
    assert sac(target_std=0.15).target_entropy == pytest.approx(wanted)
    assert sac(target_std=0.15, target_entropy=-0.5).target_entropy == -0.5  # the one on the command line


def test_the_first_standard_deviation_moves_nothing_else():
    obs, quiet = torch.randn(4, OBS), learner_of(init_std=0.25)
    before, after = (policy(x.algorithm.actor.layers, obs) for x in (learner_of(), quiet))
    torch.testing.assert_close(after.log_std, before.log_std + math.log(0.25))
    assert torch.equal(before.mean, after.mean)


def test_targets_move_every_update_actor_and_temperature_by_the_delay():
    learner, replay, g = learner_of(policy_delay=3), filled_replay(), torch.Generator().manual_seed(0)
    critics, targets = learner.algorithm.critics.flat, learner.algorithm.networks["target_critics"].flat
    for k in range(1, 7):
        targets_before, before = targets.clone(), log_alpha(learner)
        learner.update(replay, 1, g)
        torch.testing.assert_close(targets, 0.9 * targets_before + 0.1 * critics)
        assert torch.equal(before, log_alpha(learner)) == (k % 3 != 0)


def test_target_and_policy_have_draws_of_their_own():
    learner, replay = learner_of(), filled_replay()
    batch = learner.prepare(replay.gather(replay.draw(1, 32, torch.Generator().manual_seed(0))[0], 1, 0.99))
    noise = torch.randn(2, 32, ACTION)
    noise[1] = torch.nan
    assert learner.algorithm.critic_gradient(batch, noise).loss.isfinite()
    assert learner.algorithm.policy_gradient(batch, noise.flip(0)).loss.isfinite()


def test_temperature_is_restored():
    learner, other = learner_of(), learner_of(init_temperature=0.2)
    learner.update(filled_replay(), 4, torch.Generator().manual_seed(0))
    other.load_state_dict(learner.state_dict())
    assert torch.equal(log_alpha(learner), log_alpha(other))
    other.load_weights(learner_of(init_temperature=0.7).state_dict())
    assert torch.equal(log_alpha(learner), log_alpha(other))  # weights only
