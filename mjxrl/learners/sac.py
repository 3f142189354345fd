"""SAC: Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners.actor_critic import ActorCritic, over_worlds
from mjxrl.learners.algorithm import CriticGradient, Entropy, PolicyGradient
from mjxrl.learners.batches import masked_mean
from mjxrl.learners.optimizer import Adam
from mjxrl.learners.values import SCALAR, Value, q_for_actor
from mjxrl.networks.mlp import actor_outputs, critic_outputs
from mjxrl.networks.parameters import Layer
from mjxrl.replay import Batch
from mjxrl.storage.state import Part

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # the authors' bounds


class Gaussian(NamedTuple):
    """The policy's distribution before tanh squashes it."""

    mean: Tensor
    """(B, A)"""
    log_std: Tensor
    """(B, A)"""


def policy(actor: Sequence[Layer], obs: Tensor) -> Gaussian:
    """The Gaussian of pi(. | s) for normalised observations (B, O)."""
    mean, log_std = actor_outputs(actor, obs).chunk(2, dim=-1)
    return Gaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX))


def best_action(actor: Sequence[Layer], obs: Tensor) -> Tensor:
    """tanh of the mean, (B, A), for normalised observations (B, O)."""
    return policy(actor, obs).mean.tanh()


def squashed_sample(gaussian: Gaussian, noise: Tensor) -> tuple[Tensor, Tensor]:
    """a = tanh(u), u = mean + std noise, and its log-density (appendix C, eq. 26): (B, A) and (B,).

    log(1 - tanh(u)^2) is written 2 (log 2 - u - softplus(-2u)), which is exact where tanh(u) rounds to 1.
    """
    u = gaussian.mean + gaussian.log_std.exp() * noise
    log_normal = -0.5 * noise.square() - gaussian.log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - u - F.softplus(-2 * u))
    return u.tanh(), (log_normal - log_slope).sum(-1)


def sac_target(
    actor: Sequence[Layer],
    target_critics: Sequence[Layer],
    batch: Batch,
    noise: Tensor,
    alpha: Tensor,
    value: Value = SCALAR,
) -> Tensor:
    """y = r + gamma (min_i Q'_i(s', a') - alpha log pi(a' | s')), a' ~ pi (eqs. 3 and 6): (B,), or (B, K) atoms.

    With windows of n > 1 steps, r is their discounted sum without the entropy bonuses in between, and the actions in
    between are the replay's, uncorrected: common practice, and no longer the paper's equation.
    """
    next_action, log_prob = squashed_sample(policy(actor, batch.next_obs), noise)
    return value.target(batch, critic_outputs(target_critics, batch.next_obs, next_action), -alpha * log_prob)


def sac_critic_loss(
    critics: Sequence[Layer], batch: Batch, target: Tensor, value: Value = SCALAR
) -> tuple[Tensor, Tensor]:
    """J_Q = sum_i mean 1/2 (Q_i(s, a) - y)^2 (eq. 5), and the Q-values, (E, B).

    With a categorical critic the error is a cross-entropy instead.
    """
    outputs = critic_outputs(critics, batch.obs, batch.action)
    return 0.5 * masked_mean(value.error(outputs, target), batch.valid).sum(), value.q(outputs.detach())


class PolicySample(NamedTuple):
    """What the policy did in the actor's loss, without gradient."""

    action: Tensor
    """(B, A)"""
    log_prob: Tensor
    """(B,) log pi(a | s)"""
    log_std: Tensor
    """(B, A) before tanh"""


def sac_actor_loss(
    actor: Sequence[Layer],
    critics: Sequence[Layer],
    batch: Batch,
    noise: Tensor,
    alpha: Tensor,
    value: Value = SCALAR,
    which: str = "min",
) -> tuple[Tensor, PolicySample]:
    """J_pi = mean (alpha log pi(a | s) - min_i Q_i(s, a)), a ~ pi (eq. 9), and the sample that it is of."""
    gaussian = policy(actor, batch.obs)
    action, log_prob = squashed_sample(gaussian, noise)
    q = q_for_actor(critics, batch.obs, action, value, which)
    sample = PolicySample(action.detach(), log_prob.detach(), gaussian.log_std.detach())
    return masked_mean(alpha * log_prob - q, batch.valid), sample


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, valid: Tensor, target_entropy: float) -> Tensor:
    """J(alpha) = mean -alpha (log pi(a | s) + H) (eq. 18), alpha = exp(log_alpha)."""
    return -(log_alpha.exp() * masked_mean(log_prob + target_entropy, valid)).sum()


class SAC(ActorCritic):
    """Soft Actor-Critic with automatic temperature. Targets move after every critic update, the policy and the
    temperature once every `policy_delay` of them."""

    noise_per_update = 2  # one for a' of the target, one for a of the policy

    def __init__(
        self, config: Config, obs_size: int, action_size: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        super().__init__(config, obs_size, action_size, device, dtype)
        settings = config.sac
        self.target_entropy = -float(action_size) if settings.target_entropy is None else settings.target_entropy
        self.log_alpha = torch.full((1,), math.log(settings.init_temperature), device=device, dtype=dtype)
        self._trained_log_alpha = self.log_alpha.detach().requires_grad_()
        self.optimizers["temperature"] = Adam(self.log_alpha, [self._trained_log_alpha], settings.temperature_lr)

    def parts(self) -> dict[str, Part]:
        return {**super().parts(), "log_alpha": self.log_alpha}

    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """tanh(u), u ~ N(mean, std). The standard deviation may be multiplied by a factor that rises evenly from the
        first world to the last."""
        gaussian = policy(self.actor.frozen, obs)
        mean, (low, high) = gaussian.mean, (self.config.sac.exploration_scale, self.config.sac.exploration_scale_max)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        if high is not None:
            noise *= over_worlds(low, high, mean)
        elif low != 1:
            noise *= low
        return (mean + gaussian.log_std.exp() * noise).tanh()

    def act_deterministic(self, obs: Tensor) -> Tensor:
        return best_action(self.actor.frozen, obs)

    def critic_gradient(self, batch: Batch, noise: Tensor) -> CriticGradient:
        with torch.no_grad(), self.autocast():
            alpha = self.log_alpha.exp()
            target = sac_target(self.actor.frozen, self.target_critics.frozen, batch, noise[0], alpha, self.value)
        with self.autocast():
            loss, q = sac_critic_loss(self.critics.layers, batch, target, self.value)
        return CriticGradient(self.gradients(critic=loss), loss.detach(), q, target)

    def policy_gradient(self, batch: Batch, noise: Tensor) -> PolicyGradient:
        alpha, which = self.log_alpha.exp(), self.config.learner.actor_q
        with self.autocast():
            loss, sample = sac_actor_loss(
                self.actor.layers, self.critics.frozen, batch, noise[1], alpha, self.value, which
            )
        losses = {"actor": loss}
        if self.config.sac.auto_temperature:
            losses["temperature"] = temperature_loss(
                self._trained_log_alpha, sample.log_prob, batch.valid, self.target_entropy
            )
        return PolicyGradient(
            self.gradients(**losses), loss.detach(), sample.action, Entropy(sample.log_prob, sample.log_std, alpha)
        )

    def update_targets(self, policy_moved: bool) -> None:
        self.target_critics.follow(self.critics, self.config.learner.tau)
