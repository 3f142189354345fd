"""TD3's and SAC's targets, losses and gradients against a float64 oracle in NumPy, written from the papers.

The oracle shares no code with the learners; its gradients are central differences of its losses.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mjxrl.config import Config, LearnerConfig
from mjxrl.learners import make_learner, sac, td3
from mjxrl.replay import Replay
from tests.helpers.histories import GAMMA, History, everything
from tests.helpers.oracles import (
    ACTION,
    F64,
    OBS,
    as_numpy,
    assert_gradient,
    bootstrapped,
    make_network,
    mean_over_valid,
    min_q,
    mlp,
    numeric_gradient,
    q_function,
    squashed_gaussian,
)

CASES = [(2, "none"), (1, "none"), (3, "layer")]  # critics, norm


@pytest.mark.parametrize(("members", "norm"), CASES)
def test_td3(batch, noise, members, norm):
    data, eps = as_numpy(batch), noise.numpy()
    actor, actor_np = make_network((OBS, 6, 5, ACTION), 1)
    target_actor, target_actor_np = make_network((OBS, 6, 5, ACTION), 2)
    sizes = (OBS + ACTION, 7, 6, 1)
    critics, critics_np = make_network(sizes, 3, members=members, norm=norm)
    targets, targets_np = make_network(sizes, 4, members=members, norm=norm)

    smoothed = np.tanh(mlp(target_actor_np, 0, data["next_obs"])) + np.clip(0.4 * eps, -0.5, 0.5)
    wanted = bootstrapped(data, min_q(targets_np, data["next_obs"], np.clip(smoothed, -1, 1)))
    target = td3.td3_target(target_actor.frozen, targets.frozen, batch, noise, target_noise=0.4, noise_clip=0.5)
    np.testing.assert_allclose(target.numpy(), wanted, rtol=1e-10)

    def critic_loss():
        errors = [(wanted - q_function(critics_np, e, data["obs"], data["action"])) ** 2 for e in range(members)]
        return sum(mean_over_valid(error, data) for error in errors)

    loss, _ = td3.td3_critic_loss(critics.layers, batch, target)
    assert loss.item() == pytest.approx(critic_loss(), rel=1e-10)
    assert_gradient(loss, critics, numeric_gradient(critic_loss, critics_np))

    def actor_loss():
        return -mean_over_valid(q_function(critics_np, 0, data["obs"], np.tanh(mlp(actor_np, 0, data["obs"]))), data)

    loss, _ = td3.td3_actor_loss(actor.layers, critics.frozen, batch)
    assert loss.item() == pytest.approx(actor_loss(), rel=1e-10)
    assert_gradient(loss, actor, numeric_gradient(actor_loss, actor_np))


@pytest.mark.parametrize(("members", "norm"), CASES)
def test_sac(batch, noise, members, norm):
    data, eps, alpha = as_numpy(batch), noise.numpy(), 0.3
    actor, actor_np = make_network((OBS, 6, 5, 2 * ACTION), 1)
    sizes = (OBS + ACTION, 7, 6, 1)
    critics, critics_np = make_network(sizes, 3, members=members, norm=norm)
    targets, targets_np = make_network(sizes, 4, members=members, norm=norm)

    next_action, log_prob = squashed_gaussian(actor_np, data["next_obs"], eps)
    wanted = bootstrapped(data, min_q(targets_np, data["next_obs"], next_action) - alpha * log_prob)
    target = sac.sac_target(actor.frozen, targets.frozen, batch, noise, torch.tensor(alpha, dtype=F64))
    np.testing.assert_allclose(target.numpy(), wanted, rtol=1e-9)

    def critic_loss():
        errors = [(wanted - q_function(critics_np, e, data["obs"], data["action"])) ** 2 for e in range(members)]
        return sum(mean_over_valid(0.5 * error, data) for error in errors)

    loss, _ = sac.sac_critic_loss(critics.layers, batch, target)
    assert loss.item() == pytest.approx(critic_loss(), rel=1e-9)
    assert_gradient(loss, critics, numeric_gradient(critic_loss, critics_np))

    def actor_loss():
        action, log_prob = squashed_gaussian(actor_np, data["obs"], eps)
        return mean_over_valid(alpha * log_prob - min_q(critics_np, data["obs"], action), data)

    loss, _, entropy = sac.sac_actor_loss(actor.layers, critics.frozen, batch, noise, torch.tensor(alpha, dtype=F64))
    assert loss.item() == pytest.approx(actor_loss(), rel=1e-9)
    assert_gradient(loss, actor, numeric_gradient(actor_loss, actor_np))

    log_alpha = torch.tensor([np.log(alpha)], requires_grad=True)
    _, log_prob = squashed_gaussian(actor_np, data["obs"], eps)
    loss = sac.temperature_loss(log_alpha, batch, entropy.log_prob, -2.5)
    wanted_loss = mean_over_valid(-alpha * (log_prob - 2.5), data)
    assert loss.item() == pytest.approx(wanted_loss, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, log_alpha)
    assert gradient.item() == pytest.approx(wanted_loss, rel=1e-9)  # d/d log(alpha) of alpha c is alpha c


@pytest.mark.parametrize("n_step", range(1, 6))
@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_targets_of_stored_windows(algo, n_step):
    """Replay, statistics and target in one: terminations, truncations, ring wrap and quarantined worlds."""
    worlds, limit, alpha = 3, 7, 0.3
    history = History(worlds, steps=43, time_limit=limit, seed=2)
    settings = LearnerConfig(normalize_obs=True, scale_rewards=True, actor_hidden=(6,), critic_hidden=(7,))
    learner = make_learner(Config(algo=algo, num_envs=worlds, learner=settings), 3, ACTION, "cpu", F64)
    algorithm = learner.algorithm
    algorithm.networks["target_critics"].flat.mul_(5)  # new critics say nearly nothing
    algorithm.actor.flat.mul_(0.3)  # the oracle's log(1 - tanh(u)^2) wants moderate u
    replay = Replay(worlds, 3, ACTION, capacity=worlds * 12, time_limit=limit, device="cpu", dtype=F64)
    replay.start(history.obs(0).double())
    for t in range(history.steps):
        history.append_to(replay, t)
        learner.observe(history.result(t, F64))
    stored = replay.gather(everything(replay), n_step, GAMMA)
    noise = torch.randn(len(stored.obs), ACTION, dtype=F64, generator=torch.Generator().manual_seed(0))
    batch = learner.prepare(stored)
    targets = algorithm.networks["target_critics"]
    if algo == "td3":
        actor = algorithm.networks["target_actor"]
        target = td3.td3_target(actor.frozen, targets.frozen, batch, noise, target_noise=0.4, noise_clip=0.5)
    else:
        actor = algorithm.actor
        target = sac.sac_target(actor.frozen, targets.frozen, batch, noise, torch.tensor(alpha).double())

    windows = [history.window(int(t), int(n), n_step, history.steps - 1) for t, n, _ in stored.obs]
    kinds = [(w[2], w[3] is not None and w[3][2] == 1, w[4]) for w in windows]
    assert {(1, False, 1), (0, True, 1), (0, False, 1), (0, False, 0)} <= set(kinds)
    counted = [(t, n) for t in range(history.steps) for n in range(worlds) if history.valid[t, n]]
    frames = np.array([[t + 1, n, 0] for t, n in counted], float)
    next_obs = np.array([w[3] if w[3] is not None else [0, 0, 0] for w in windows], float)
    next_obs = np.clip((next_obs - frames.mean(0)) / (frames.std(0) + 0.01), -10, 10)
    actor_np, targets_np = (
        {name: value.numpy() for name, value in network.state_dict().items()} for network in (actor, targets)
    )
    if algo == "td3":
        smoothed = np.tanh(mlp(actor_np, 0, next_obs)) + np.clip(0.4 * noise.numpy(), -0.5, 0.5)
        value = min_q(targets_np, next_obs, np.clip(smoothed, -1, 1))
    else:
        action, log_prob = squashed_gaussian(actor_np, next_obs, noise.numpy())
        value = min_q(targets_np, next_obs, action) - alpha * log_prob
    assert learner.return_scale.factor is not None
    scale = learner.return_scale.factor.item()
    wanted = [scale * w[0] + (0 if w[2] else GAMMA ** w[1] * v) for w, v in zip(windows, value, strict=True)]
    keep = np.array([w[4] for w in windows]) > 0
    np.testing.assert_allclose(target.numpy()[keep], np.array(wanted)[keep], rtol=1e-5, atol=1e-7)
    assert (np.abs(value[keep]) > 1e-3).mean() > 0.8  # so that a forgotten one would show
