"""What the algorithms promise, checked on the learners themselves: seconds on a CPU, no simulator.

Each check returns what it measured, in words, or raises `BrokenPromiseError`; one that needs a package that is not
installed raises `Skipped`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from mjxrl.checks.outcomes import BrokenPromiseError, Outcome, Skipped, check
from mjxrl.config import Algorithm, Config, LearnerConfig, SacConfig
from mjxrl.learners import Learner, make_learner
from mjxrl.learners.noise import HeldNoise
from mjxrl.learners.sac import SAC, Gaussian, squashed_sample
from mjxrl.networks.mlp import critic_outputs
from mjxrl.networks.parameters import follow
from mjxrl.replay import Batch, Replay
from mjxrl.worlds.worlds import StepResult

OBS, ACTION, WORLDS = 6, 3, 4
SAMPLES = 200_000


def learner_of(
    algo: Algorithm, dtype: torch.dtype = torch.float32, sac: SacConfig | None = None, **settings: Any
) -> Learner:
    """A small learner of either kind."""
    learner = LearnerConfig(**{"batch_size": 64, "actor_hidden": (32, 32), "critic_hidden": (32, 32), **settings})
    config = Config(algo=algo, num_envs=WORLDS, learner=learner, sac=sac or SacConfig())
    return make_learner(config, OBS, ACTION, "cpu", dtype)


def random_replay(terminated: bool = False) -> Replay:
    """Random transitions; episodes last one step if `terminated`."""
    g = torch.Generator().manual_seed(0)
    replay = Replay(WORLDS, OBS, ACTION, capacity=400, time_limit=None, device="cpu")
    replay.start(torch.randn(WORLDS, OBS, generator=g))
    ends, never = torch.full((WORLDS,), terminated), torch.zeros(WORLDS, dtype=torch.bool)
    for _ in range(100):
        obs, action = torch.randn(WORLDS, OBS, generator=g), torch.rand(WORLDS, ACTION, generator=g) * 2 - 1
        replay.append(action, StepResult(obs, torch.randn(WORLDS, generator=g), ends, never, obs))
    return replay


def gaussians(dtype: torch.dtype = torch.float64) -> tuple[Gaussian, Tensor]:
    """Policies of many shapes, and standard normal noise."""
    g = torch.Generator().manual_seed(1)
    mean, log_std, noise = torch.randn(3, 2000, ACTION, generator=g, dtype=dtype)
    return Gaussian(mean, log_std.clamp(max=1)), noise


def one_gaussian(seed: int) -> tuple[Gaussian, Tensor]:
    """One policy, and many draws from it: (SAMPLES, ACTION)."""
    noise = torch.randn(SAMPLES, ACTION, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, log_std = torch.tensor([[0.5, -0.3, 0.0], [0.2, 0.1, 0.3]]).double().unsqueeze(1).expand(2, SAMPLES, ACTION)
    return Gaussian(mean, log_std), noise


def initial_q_near_zero() -> str:
    worst = 0.0
    for algo in ("td3", "sac"):
        for kind in ("scalar", "categorical"):
            learner = learner_of(algo, critic=kind)
            obs, action = torch.randn(1000, OBS), torch.rand(1000, ACTION) * 2 - 1
            q = learner.algorithm.value.q(critic_outputs(learner.algorithm.critics.frozen, obs, action))
            worst = max(worst, q.abs().max().item())
    return check(worst < 0.1, f"largest |Q| of new critics {worst:.3f}")


def bounded_actions() -> str:
    worst = 0.0
    for algo in ("td3", "sac"):
        learner, obs = learner_of(algo), torch.randn(1000, OBS) * 1000
        actions = [learner.act(obs, torch.Generator().manual_seed(0)), learner.act_deterministic(obs)]
        worst = max(worst, *(action.abs().max().item() for action in actions))
    return check(worst <= 1, f"largest |action| {worst:g} on observations of 1000")


def finite_log_probs() -> str:
    mean = torch.tensor([[0.0, 10.0, -100.0]]).repeat(3, 1).requires_grad_()
    log_std = torch.tensor([[-20.0], [0.0], [2.0]]).repeat(1, 3).requires_grad_()
    _, log_prob = squashed_sample(Gaussian(mean, log_std), torch.ones(3, 3))
    gradients = torch.autograd.grad(log_prob.sum(), (mean, log_std))
    finite = all(bool(x.isfinite().all()) for x in (log_prob, *gradients))
    return check(finite, f"and gradients at |mean| 100, std e^-20 to e^2: |log pi| to {log_prob.abs().max():.0f}")


def tanh_change_of_variables() -> str:
    gaussian, noise = gaussians()
    action, log_prob = squashed_sample(gaussian, noise)
    u = gaussian.mean + gaussian.log_std.exp() * noise
    plain = Normal(gaussian.mean, gaussian.log_std.exp()).log_prob(u)
    inside = u.abs().amax(-1) < 4  # beyond, 1 - a^2 has too few digits to compare with
    wanted = (plain - torch.log(1 - action.square())).sum(-1)
    error = (log_prob - wanted)[inside].abs().max().item()
    return check(error < 1e-8, f"log pi = log N(u) - sum log(1 - a^2) to {error:.1e}")


def density_integrates_to_one() -> str:
    gaussian, noise = one_gaussian(2)
    _, log_prob = squashed_sample(gaussian, noise)
    mass = (0.5**ACTION * (-log_prob).exp()).mean().item()
    return check(abs(mass - 1) < 0.02, f"mass of [-1, 1]^{ACTION} by Monte Carlo {mass:.4f}")


def entropy_identity() -> str:
    gaussian, noise = one_gaussian(3)
    entropy = -squashed_sample(gaussian, noise)[1].mean().item()
    _, other = one_gaussian(4)
    u = gaussian.mean + gaussian.log_std.exp() * other
    normal = (0.5 * math.log(2 * math.pi * math.e) + gaussian.log_std[0]).sum().item()
    wanted = normal + torch.log(1 - u.tanh().square()).sum(-1).mean().item()
    return check(abs(entropy - wanted) < 0.02, f"H(a) {entropy:.4f}, H(u) + E log(1 - tanh(u)^2) {wanted:.4f}")


def log_prob_as_torch_distributions() -> str:
    gaussian, noise = gaussians()
    _, log_prob = squashed_sample(gaussian, noise)
    tanh = TanhTransform(cache_size=1)  # remembers u, which atanh could not recover
    distribution = TransformedDistribution(Normal(gaussian.mean, gaussian.log_std.exp()), [tanh])
    action: Any = tanh(gaussian.mean + gaussian.log_std.exp() * noise)
    error = (log_prob - distribution.log_prob(action).sum(-1)).abs().max().item()
    return check(error < 1e-9, f"largest difference {error:.1e}")


def log_prob_as_stable_baselines3() -> str:
    try:
        from stable_baselines3.common.distributions import (  # type: ignore[import-not-found]
            SquashedDiagGaussianDistribution,
        )
    except ImportError:
        raise Skipped("stable-baselines3 is not installed") from None
    gaussian, noise = gaussians()
    action, log_prob = squashed_sample(gaussian, noise)
    u = gaussian.mean + gaussian.log_std.exp() * noise
    peer = SquashedDiagGaussianDistribution(ACTION, epsilon=0.0).proba_distribution(gaussian.mean, gaussian.log_std)
    inside = u.abs().amax(-1) < 4
    error = (log_prob - peer.log_prob(action, u))[inside].abs().max().item()
    return check(error < 1e-8, f"largest difference {error:.1e}")


def temperature_direction() -> str:
    moved = []
    for target in (50.0, -50.0):  # above and below what the policy can have
        learner = learner_of("sac", sac=SacConfig(init_temperature=0.5, target_entropy=target))
        metrics = learner.update(random_replay(), 20, torch.Generator().manual_seed(0))
        moved.append(metrics["temperature"].item())
    low, high = moved[1], moved[0]
    return check(low < 0.5 < high, f"from 0.5: entropy too low, {high:.4f}; too high, {low:.4f}")


def delayed_updates() -> str:
    for algo in ("td3", "sac"):
        learner, replay, g = learner_of(algo, policy_delay=2), random_replay(), torch.Generator().manual_seed(0)
        moves = []
        for _ in range(6):
            before = learner.algorithm.actor.flat.clone()
            learner.update(replay, 1, g)
            moves.append(not torch.equal(before, learner.algorithm.actor.flat))
        check(moves == [False, True] * 3, f"{algo}: with a delay of 2 the policy moved at {moves}")
    return "with a delay of 2 the policies move every other update"


def polyak_averaging() -> str:
    learner = learner_of("td3", torch.float64)
    source, target = learner.algorithm.critics, learner.algorithm.networks["target_critics"]
    source.flat.add_(1.0)
    first = target.flat.clone()
    for _ in range(100):
        follow([target], [source], 0.005)
    wanted = source.flat + (1 - 0.005) ** 100 * (first - source.flat)
    error = (target.flat - wanted).abs().max().item()
    return check(error < 1e-12, f"100 steps against theta + (1 - tau)^100 (theta'_0 - theta): {error:.1e}")


def averaged_policy() -> str:
    learner = learner_of("sac", torch.float64, policy_average=0.1, policy_delay=2)
    replay, g, wanted = random_replay(), torch.Generator().manual_seed(0), learner.algorithm.actor.flat.clone()
    for made in range(1, 81):
        learner.update(replay, 1, g)
        if made % 2 == 0:
            share = max(0.1, 10 / (made / 2 + 9))
            wanted = (1 - share) * wanted + share * learner.algorithm.actor.flat
    error = (learner.algorithm.best_actor.flat - wanted).abs().max().item()
    return check(error < 1e-7, f"40 steps of the actor against (1 - a) average + a actor: {error:.1e}")


def no_value_after_termination() -> str:
    learner = learner_of("td3")
    batches = []
    for terminated in (True, False):
        replay = random_replay(terminated)
        batch = learner.prepare(replay.gather(replay.draw(1, 64, torch.Generator().manual_seed(0))[0], 1, 0.99))
        outputs = torch.full((2, 64, 1), 7.0)
        batches.append((learner.algorithm.value.target(batch, outputs) - batch.reward).abs())
    ended, going_on = batches
    fits = ended.max() == 0 and (going_on - 0.99 * 7).abs().max() < 1e-5
    return check(bool(fits), f"Q' = 7: target - r {ended.max():g} after a termination, {going_on.max():.2f} elsewhere")


def batch_norm_statistics() -> str:
    learner = learner_of("sac", torch.float64, critic_norm="batch", actor_norm="batch")
    replay, g, worst = random_replay(), torch.Generator().manual_seed(0), 0.0
    networks = {"critics": learner.algorithm.critics, "actor": learner.algorithm.actor}
    plain = {name: (torch.zeros(1).double(), torch.ones(1).double()) for name in networks}
    for _ in range(50):
        batch = learner.prepare(replay.gather(replay.draw(1, 64, g)[0], 1, 0.99))
        batch = Batch._make(x.double() if x.is_floating_point() else x for x in batch)
        batch = batch._replace(invalid=torch.arange(64) < 9, counted=torch.tensor(64 - 9))
        networks["actor"].flat.zero_()  # a' is tanh of the noise then
        noise = torch.randn(2, 64, ACTION, generator=g, dtype=torch.float64)
        ends = torch.cat([batch.obs, batch.action], -1), torch.cat([batch.next_obs, noise[0].tanh()], -1)
        counted = {"critics": torch.cat([end[9:] for end in ends]), "actor": batch.obs[9:]}
        learner.updates.update(batch, noise, policy_due=True)
        for name, network in networks.items():
            first, (mean, var) = network.frozen[0], plain[name]
            mean = 0.99 * mean + 0.01 * counted[name].mean(0)
            var = 0.99 * var + 0.01 * counted[name].var(0, correction=0)
            plain[name] = mean, var
            assert first.mean is not None and first.var is not None
            apart = (first.mean[0, 0] - mean).abs().max().item(), (first.var[0, 0] - var).abs().max().item()
            worst = max(worst, *apart)
    return check(worst < 1e-6, f"critics and actor, 50 batches with invalid rows, against plain means: {worst:.1e}")


def held_noise_law() -> str:
    worlds, steps, longest = 500, 1000, 16
    noise, g = HeldNoise(longest, worlds, 1, "cpu", torch.float32), torch.Generator().manual_seed(0)
    drawn = torch.stack([noise.draw(worlds, g)[:, 0] for _ in range(steps)])
    found = (drawn[1:] != drawn[:-1]).double().mean().item()
    weights = [k**-2.0 for k in range(1, longest + 1)]
    wanted = sum(weights) / sum(k * weight for k, weight in enumerate(weights, 1))  # 1 / E[k]: renewal theory
    return check(abs(found - wanted) < 0.005, f"noise is new in {found:.4f} of all steps, by its law {wanted:.4f}")


def entropy_of_a_deviation() -> str:
    learner = learner_of("sac", sac=SacConfig(target_std=0.15))
    assert isinstance(learner.algorithm, SAC)
    found, wanted = learner.algorithm.target_entropy, ACTION * Normal(0.0, 0.15).entropy().item()
    return check(
        abs(found - wanted) < 1e-6, f"H for sigma 0.15 and {ACTION} actions {found:.4f}, a Gaussian's {wanted:.4f}"
    )


CHECKS: dict[str, Callable[[], str]] = {
    "initial Q near zero": initial_q_near_zero,
    "actions bounded": bounded_actions,
    "log-probabilities finite": finite_log_probs,
    "tanh change of variables": tanh_change_of_variables,
    "density integrates to 1": density_integrates_to_one,
    "entropy identity": entropy_identity,
    "log pi as torch.distributions": log_prob_as_torch_distributions,
    "log pi as Stable-Baselines3": log_prob_as_stable_baselines3,
    "temperature moves the right way": temperature_direction,
    "delayed policy updates": delayed_updates,
    "Polyak averaging": polyak_averaging,
    "average of the policy's weights": averaged_policy,
    "no value after termination": no_value_after_termination,
    "BatchNorm's running statistics": batch_norm_statistics,
    "held noise": held_noise_law,
    "target entropy of a deviation": entropy_of_a_deviation,
}


def run_checks() -> list[Outcome]:
    """Every check, in order."""
    outcomes = []
    for name, promise in CHECKS.items():
        try:
            outcomes.append(Outcome(name, "PASS", promise()))
        except BrokenPromiseError as error:
            outcomes.append(Outcome(name, "FAIL", str(error)))
        except Skipped as reason:
            outcomes.append(Outcome(name, "SKIP", str(reason)))
        except Exception as error:  # a check that cannot run has not passed
            outcomes.append(Outcome(name, "FAIL", f"{type(error).__name__}: {error}"))
    return outcomes
