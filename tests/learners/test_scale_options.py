"""Each option for scale, on both learners: it does what its flag says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mjxrl.config import Config, SacConfig, Td3Config
from mjxrl.learners import diagnostics, make_learner
from mjxrl.learners.optimizer import Adam, lr_fraction
from mjxrl.learners.values import Scalar
from mjxrl.networks.mlp import critic_outputs
from mjxrl.networks.parameters import Network, new_network
from mjxrl.networks.spec import NetworkSpec
from mjxrl.networks.statistics import RETURN_LIMIT, ReturnScale
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

EVERYTHING = {
    "critic": "categorical",
    "atoms": 11,
    "critic_activation": "silu",
    "critic_norm": "layer",
    "normalize_obs": True,
    "scale_rewards": True,
    "n_step": 3,
    "policy_delay": 2,
    "actor_q": "mean",
    "weight_decay": 0.1,
    "lr_schedule": "cosine",
    "bf16": True,
}


def seen(learner, steps=5, seed=0):
    """Some vector steps of frames and rewards."""
    g = torch.Generator().manual_seed(seed)
    for t in range(steps):
        obs, ended = torch.randn(WORLDS, OBS, generator=g) * 3, torch.full((WORLDS,), t == 2)
        reward = torch.randn(WORLDS, generator=g) * 40
        learner.observe(StepResult(obs, reward, ended, ~ended & ended, obs))


@both
@pytest.mark.parametrize("only", [*EVERYTHING, None])
def test_every_option_alone_and_all_together_train_and_resume_bit_for_bit(algo, only):
    settings = EVERYTHING if only is None else {only: EVERYTHING[only]}
    one, two = learner_of(algo, **settings), learner_of(algo, **settings)
    seen(one)
    replay, g = filled_replay(), torch.Generator().manual_seed(3)
    metrics = one.update(replay, 4, g)
    assert all(bool(value.isfinite()) and value.dim() == 0 for value in metrics.values()), metrics
    two.load_state_dict(one.state_dict())
    g_two = torch.Generator()
    g_two.set_state(g.get_state())
    for learner in (one, two):
        seen(learner, seed=4)
    assert same(one.update(replay, 6, g), two.update(replay, 6, g_two))
    assert same(one.state_dict(), two.state_dict())
    if only is not None and only not in ("atoms", "lr_schedule"):
        plain = learner_of(algo)
        seen(plain)
        plain.update(replay, 4, torch.Generator().manual_seed(3))
        plain_state, state = plain.state_dict(), learner_of(algo, **settings)
        seen(state)
        state.update(replay, 4, torch.Generator().manual_seed(3))
        assert not same(plain_state, state.state_dict()), "the option changes nothing"


class TestReturnScale:
    def test_equals_a_plain_computation(self):
        rng = np.random.default_rng(0)
        reward = rng.normal(3, 20, (50, 3))
        ended, valid = rng.random((50, 3)) < 0.1, rng.random((50, 3)) > 0.1
        scale = ReturnScale(3, 0.9, 1000, "cpu", torch.float64)
        for t in range(50):
            poisoned = np.where(valid[t], reward[t], np.nan)
            scale.update(torch.tensor(poisoned), torch.tensor(ended[t]), torch.tensor(valid[t]))
        returns, running = [], np.zeros(3)
        for t in range(50):
            for world in range(3):
                if not valid[t, world]:
                    running[world] = 0
                    continue
                running[world] = 0.9 * running[world] + reward[t, world]
                returns.append(running[world])
                running[world] *= not ended[t, world]
        wanted = 1 / max(np.std(returns), np.abs(returns).max() / RETURN_LIMIT)
        assert scale.factor is not None
        assert scale.factor.item() == pytest.approx(wanted, rel=1e-9)

    @pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
    def test_the_unit_of_reward_does_not_matter(self, unit):
        g = torch.Generator().manual_seed(0)
        scale, all_valid = ReturnScale(4, 0.99, 1000, "cpu"), torch.ones(4, dtype=torch.bool)
        rewards = torch.randn(400, 4, generator=g) + 0.5
        for reward in rewards:
            scale.update(unit * reward, ~all_valid, all_valid)
        assert scale.factor is not None
        returns = torch.zeros(4)
        largest = 0.0
        for reward in rewards:
            returns = 0.99 * returns + unit * reward * scale.factor
            largest = max(largest, returns.abs().max().item())
        assert 1 < largest <= RETURN_LIMIT * 1.0001

    def test_before_any_reward_nothing_is_scaled(self):
        scale, yes = ReturnScale(2, 0.9, 1000, "cpu"), torch.ones(2, dtype=torch.bool)
        assert scale.factor is not None and scale.factor == 1
        scale.update(torch.zeros(2), ~yes, yes)
        assert scale.factor == 1
        scale.update(torch.full((2,), torch.nan), yes, ~yes)
        assert scale.factor == 1

    @both
    def test_batches_are_scaled_and_the_replay_is_not(self, algo):
        learner = learner_of(algo, scale_rewards=True)
        seen(learner)
        batch = random_batch()
        factor = learner.return_scale.factor
        assert factor is not None and factor < 0.1
        torch.testing.assert_close(learner.prepare(batch).reward, batch.reward * factor)
        before = learner.return_scale.state_dict()
        learner.update(filled_replay(), 3, torch.Generator().manual_seed(0))
        assert same(before, learner.return_scale.state_dict())

    def test_weights_bring_the_scale_but_not_the_worlds_running_returns(self):
        source = learner_of("td3", scale_rewards=True)
        seen(source)
        other = make_learner(dataclasses.replace(source.config, num_envs=WORLDS + 3), OBS, ACTION, "cpu")
        other.load_weights(source.state_dict())
        assert other.return_scale.factor == source.return_scale.factor != 1
        assert other.state_dict()["return_scale.returns"].tolist() == [0.0] * (WORLDS + 3)

    @both
    def test_a_checkpoint_of_before_the_scale_forgot_still_loads(self, algo):
        source, fresh = learner_of(algo, scale_rewards=True), learner_of(algo, seed=1, scale_rewards=True)
        seen(source)
        added = {f"return_scale.{name}" for name in ReturnScale.ADDED}
        old = {name: tensor for name, tensor in source.state_dict().items() if name not in added}
        assert len(old) == len(source.state_dict()) - 3
        fresh.load_state_dict(old)
        assert fresh.return_scale.factor == source.return_scale.factor != 1
        learner_of(algo, seed=2, scale_rewards=True).load_weights(old)


class TestExploration:
    def test_each_world_has_its_own_fixed_width(self):
        config = Config(algo="td3", learner=SMALL, td3=Td3Config(exploration_noise=0.01, exploration_noise_max=0.09))
        learner = make_learner(config, OBS, ACTION, "cpu", torch.float64)
        obs = torch.zeros(5, OBS, dtype=torch.float64)
        g = torch.Generator().manual_seed(0)
        noise = torch.stack([learner.act(obs, g) for _ in range(8000)]) - learner.act_deterministic(obs)
        width = noise.std(dim=(0, 2)).numpy()
        np.testing.assert_allclose(width, [0.01, 0.03, 0.05, 0.07, 0.09], rtol=0.03)

    def test_sac_scales_the_spread_of_each_world(self):
        config = Config(algo="sac", learner=SMALL, sac=SacConfig(exploration_scale=0.5, exploration_scale_max=1.5))
        learner = make_learner(config, OBS, ACTION, "cpu", torch.float64)
        obs = torch.zeros(5, OBS, dtype=torch.float64)

        def spread(learner) -> torch.Tensor:
            g = torch.Generator().manual_seed(0)
            return torch.stack([learner.act(obs, g).atanh() for _ in range(200)]).std(dim=0)

        plain = spread(make_learner(Config(algo="sac", learner=SMALL), OBS, ACTION, "cpu", torch.float64))
        torch.testing.assert_close(
            spread(learner) / plain,
            torch.tensor([0.5, 0.75, 1, 1.25, 1.5]).double().unsqueeze(-1).expand(5, ACTION),
            rtol=1e-6,
            atol=0,
        )
        halved = make_learner(
            Config(algo="sac", learner=SMALL, sac=SacConfig(exploration_scale=0.5)), OBS, ACTION, "cpu", torch.float64
        )
        torch.testing.assert_close(spread(halved), 0.5 * plain, rtol=1e-6, atol=0)

    def test_one_world_has_the_least(self):
        config = Config(algo="td3", learner=SMALL, td3=Td3Config(exploration_noise=0.0, exploration_noise_max=0.9))
        learner = make_learner(config, OBS, ACTION, "cpu")
        obs = torch.randn(1, OBS)
        assert torch.equal(learner.act(obs), learner.act_deterministic(obs))


class TestOptimizer:
    def test_weight_decay_equals_the_paper(self):
        rng = np.random.default_rng(0)
        values = torch.tensor(rng.normal(size=6))
        parts = [values[:4].detach().requires_grad_(), values[4:].detach().requires_grad_()]
        adam = Adam(values, parts, lr=0.1, weight_decay=0.3)
        x, m, v = values.numpy().copy(), np.zeros(6), np.zeros(6)
        for t in range(1, 8):
            adam.step(adam.gradient((parts[0] ** 3).sum() + (parts[1] ** 3).sum()))
            g = 3 * x**2
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            x = x - 0.1 * 0.3 * x - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            np.testing.assert_allclose(values.numpy(), x, rtol=1e-9)

    @pytest.mark.parametrize(
        ("schedule", "wanted"),
        [("constant", (1, 1, 1, 1)), ("linear", (1, 0.775, 0.55, 0.1)), ("cosine", (1, 0.868198, 0.55, 0.1))],
    )
    def test_schedules(self, schedule, wanted):
        got = [lr_fraction(schedule, progress, 0.1) for progress in (0, 0.25, 0.5, 1)]
        assert got == pytest.approx(wanted, abs=1e-6)
        assert lr_fraction(schedule, 7.0, 0.1) == lr_fraction(schedule, 1.0, 0.1)

    @both
    def test_the_schedule_follows_the_updates_of_the_whole_run(self, algo):
        settings = {"lr_schedule": "linear", "lr_final": 0.5, "updates_per_step": 2, "warmup_steps": 40}
        config = Config(algo=algo, num_envs=4, total_steps=80, learner=dataclasses.replace(SMALL, **settings))
        learner = make_learner(config, OBS, ACTION, "cpu")
        replay, g, sizes = filled_replay(), torch.Generator().manual_seed(0), []
        for _ in range(12):  # (80 - 40) / 4 vector steps of 2 updates, and two steps more
            learner.update(replay, 2, g)
            sizes.append(learner.algorithm.optimizers["critic"].lr / 3e-4)
        assert sizes == pytest.approx([1 - 0.05 * i for i in range(10)] + [0.5, 0.5])
        assert {optimizer.lr for optimizer in learner.algorithm.optimizers.values()} == {
            learner.algorithm.optimizers["critic"].lr
        }


class TestBf16:
    def test_a_categorical_value_keeps_its_precision(self):
        learner = learner_of("td3", bf16=True, critic="categorical", atoms=251, value_range=10.0)
        outputs = torch.randn(2, 64, 251, generator=torch.Generator().manual_seed(0)) * 4
        wanted = learner.algorithm.value.q(outputs.double())
        q = learner.algorithm.value.q(outputs)
        of_target = learner.algorithm.value.q_of_target(outputs[0].softmax(-1))
        assert q.dtype == of_target.dtype == torch.float32
        torch.testing.assert_close(q.double(), wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(of_target.double(), wanted[0], atol=1e-4, rtol=0)

    @both
    def test_matrix_products_are_bf16_and_targets_are_not(self, algo):
        exact, short = (learner_of(algo, bf16=on, gamma=0.99) for on in (False, True))
        batch, short_batch = (learner.prepare(random_batch()) for learner in (exact, short))
        noise = torch.randn(2, 16, ACTION, generator=torch.Generator().manual_seed(0))
        a = measured(exact, batch, noise, policy_due=False)
        b = measured(short, short_batch, noise, policy_due=False)
        assert a["q"] != b["q"] and a["q"].item() == pytest.approx(b["q"].item(), rel=0.05, abs=2e-3)
        assert all(value.dtype == torch.float32 for value in b.values())
        # Q' = 1 exactly, so that the target shows how exactly the discount is kept: 0.99, which bf16 has as 0.988
        for layer in short.algorithm.networks["target_critics"].frozen:
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        no = torch.zeros(16, dtype=torch.bool)
        batch = short_batch._replace(discount=torch.full((16,), 0.99), terminated=no, reward=torch.zeros(16))
        if algo == "td3":
            target = measured(short, batch, noise, policy_due=False)["target_q"]
            assert target.item() == pytest.approx(0.99, abs=1e-6)

    @pytest.mark.parametrize("outputs", [1, 11])
    @pytest.mark.parametrize("norm", ["none", "layer", "batch"])
    def test_outputs_and_gradients_come_back_in_float32(self, outputs, norm):
        g = torch.Generator().manual_seed(0)
        spec = NetworkSpec(7, (16, 16), outputs, members=2, norm=norm)
        exact = new_network(spec, g, "cpu")
        short = Network(spec, exact.state_dict(), torch.bfloat16)
        obs, action, found = torch.randn(8, 5, generator=g), torch.randn(8, 2, generator=g), []
        for net in (exact, short):
            out = critic_outputs(net.layers, obs, action)
            found.append((out, Adam(net.flat, net.parameters, lr=1e-3).gradient(out.square().sum())))
        for one, other in zip(*found, strict=True):
            assert other.dtype == torch.float32
            assert 0 < (one - other).norm() < 0.05 * one.norm()

    @both
    @pytest.mark.parametrize("norm", ["layer", "batch"])
    def test_products_see_every_step_average_and_restored_state(self, algo, norm):
        """What losses compute with is the rounded copy of what is learned, whatever changed that."""
        settings = {"bf16": True, "critic_norm": norm, "policy_delay": 2}
        one, other = (learner_of(algo, seed=seed, **settings) for seed in (0, 1))
        one.update(filled_replay(), 3, torch.Generator().manual_seed(0))
        other.load_state_dict(one.state_dict())
        for learner in (one, other):
            for name, network in learner.algorithm.networks.items():
                assert network.rounded.dtype == torch.bfloat16 and network.flat.dtype == torch.float32
                assert torch.equal(network.rounded, network.flat.bfloat16()), name


@both
def test_silu_is_that_function(algo):
    learner = learner_of(algo, torch.float64, critic_activation="silu", critic_hidden=(6,))
    first, last = learner.algorithm.critics.frozen
    obs, action = torch.randn(4, OBS, dtype=torch.float64), torch.randn(4, ACTION, dtype=torch.float64)
    x = torch.cat([obs, action], -1) @ first.weight[0] + first.bias[0]
    wanted = (x / (1 + (-x).exp())) @ last.weight[0] + last.bias[0]
    torch.testing.assert_close(critic_outputs(learner.algorithm.critics.frozen, obs, action)[0], wanted)


@both
def test_metrics_mean_what_they_say(algo, monkeypatch):
    learner = learner_of(algo, torch.float64, gamma=0.9)
    batch = learner.prepare(without(random_batch(torch.float64)._replace(discount=torch.full((16,), 0.9)), [2]))
    noise = torch.randn(2, 16, ACTION, dtype=torch.float64)
    keep = ~batch.invalid
    q = critic_outputs(learner.algorithm.critics.frozen, batch.obs, batch.action)[..., 0].clone()
    targets, original = [], learner.algorithm.value.target
    monkeypatch.setattr(Scalar, "target", lambda self, *args: targets.append(original(*args)) or targets[-1])
    gradient = learner.algorithm.critic_gradient(batch, noise).gradients["critic"]
    targets.clear()
    got = measured(learner, batch, noise, policy_due=True)
    [y] = targets
    assert got["q1"].item() == pytest.approx(q[0, keep].mean().item())
    assert got["q2"].item() == pytest.approx(q[1, keep].mean().item())
    assert got["q_min"].item() == pytest.approx(q.amin(0)[keep].mean().item())
    assert got["q"].item() == pytest.approx(q[:, keep].mean().item())
    assert got["replay_reward"].item() == pytest.approx(batch.reward[keep].mean().item())
    assert got["q_bound"].item() == pytest.approx(batch.reward[keep].abs().max().item() / 0.1)
    assert got["critic_grad_norm"].item() == pytest.approx(gradient.norm().item())
    assert got["target_q"].item() == pytest.approx(y[keep].mean().item())
    assert got["target_q_max"].item() == pytest.approx(y[keep].max().item())
    assert got["td_error"].item() == pytest.approx((q - y).abs()[:, keep].mean().item())
    assert 0 <= got["action_saturation"] <= 1 and got["actor_grad_norm"] > 0
    learner.algorithm.actor.frozen[-1].weight.zero_()
    learner.algorithm.actor.frozen[-1].bias.fill_(20.0)
    assert measured(learner, batch, noise, policy_due=True)["action_saturation"] > 0.9


@both
def test_metrics_of_an_empty_batch_and_without_a_discount_are_finite(algo):
    learner = learner_of(algo, torch.float64, gamma=1.0)
    noise = torch.randn(2, 16, ACTION, dtype=torch.float64)
    batch = random_batch(torch.float64)._replace(discount=torch.ones(16))
    for some in (batch, without(batch, slice(None))):
        metrics = measured(learner, learner.prepare(some), noise, policy_due=False)
        assert all(bool(value.isfinite()) for value in metrics.values())
    assert metrics["target_q_max"] == metrics["q_bound"] == 0


@both
@pytest.mark.parametrize(("updates", "policy"), [(7, 1), (1, 0)])
def test_what_is_measured_is_measured_once(algo, updates, policy, monkeypatch):
    calls = []
    for name in ("critic_metrics", "policy_metrics"):
        original = getattr(diagnostics, name)
        spy = lambda *args, name=name, original=original: calls.append(name) or original(*args)  # noqa: E731
        monkeypatch.setattr(f"mjxrl.learners.updates.{name}", spy)
    learner = learner_of(algo, policy_delay=2)
    metrics = learner.update(filled_replay(), updates, torch.Generator().manual_seed(0))
    assert sorted(calls) == ["critic_metrics"] + ["policy_metrics"] * policy
    assert {"critic_loss", "replay_age"} <= metrics.keys() and ("actor_loss" in metrics) == bool(policy)
