"""SAC: Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mjxrl.config import Config, SacConfig
from mjxrl.learners.actor_critic import ActorCritic
from mjxrl.learners.algorithm import CriticGradient, Entropy, PolicyGradient
from mjxrl.learners.optimizer import Adam
from mjxrl.learners.values import SCALAR, Value, q_for_actor
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.networks.layers import Layer
from mjxrl.networks.mlp import actor_outputs, critic_outputs
from mjxrl.networks.parameters import refresh
from mjxrl.replay import Batch
from mjxrl.storage.state import Part

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # the authors' bounds


class Gaussian(NamedTuple):
    """The policy's distribution before tanh squashes it."""

    mean: Annotated[Tensor, "B A"]
    log_std: Annotated[Tensor, "B A"]


def policy(actor: Sequence[Layer], obs: Annotated[Tensor, "B O"]) -> Gaussian:
    """The Gaussian of pi(. | s)."""
    mean, log_std = actor_outputs(actor, obs).chunk(2, dim=-1)
    return Gaussian(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX))


def best_action(actor: Sequence[Layer], obs: Annotated[Tensor, "B O"]) -> Annotated[Tensor, "B A"]:
    """tanh of the mean."""
    return policy(actor, obs).mean.tanh()


def squashed_sample(
    gaussian: Gaussian, noise: Annotated[Tensor, "B A"]
) -> tuple[Annotated[Tensor, "B A"], Annotated[Tensor, "B"]]:
    """a = tanh(u), u = mean + std noise, and its log-density (appendix C, eq. 26).

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
    noise: Annotated[Tensor, "B A"],
    alpha: Annotated[Tensor, "..."],
    value: Value = SCALAR,
) -> Annotated[Tensor, "B *K"]:
    """y = r + gamma (min_i Q'_i(s', a') - alpha log pi(a' | s')), a' ~ pi (eqs. 3 and 6), or K atoms of it.

    With windows of n > 1 steps, r is their discounted sum without the entropy bonuses in between, and the actions in
    between are the replay's, uncorrected: common practice, and no longer the paper's equation.
    """
    next_action, log_prob = squashed_sample(policy(actor, batch.next_obs), noise)
    return value.target(batch, critic_outputs(target_critics, batch.next_obs, next_action), -alpha * log_prob)


def sac_error(
    outputs: Annotated[Tensor, "E B out"], batch: Batch, target: Annotated[Tensor, "B *K"], value: Value = SCALAR
) -> Annotated[Tensor, ""]:
    """J_Q = sum_i mean 1/2 (Q_i(s, a) - y)^2 (eq. 5), of what the critics say.

    With a categorical critic the error is a cross-entropy instead.
    """
    return 0.5 * batch.mean(value.error(outputs, target)).sum()


def sac_critic_loss(
    critics: Sequence[Layer], batch: Batch, target: Annotated[Tensor, "B *K"], value: Value = SCALAR
) -> tuple[Annotated[Tensor, ""], Annotated[Tensor, "E B out"]]:
    """J_Q, and what the critics say."""
    outputs = critic_outputs(critics, batch.obs, batch.action)
    return sac_error(outputs, batch, target, value), outputs.detach()


def sac_actor_loss(
    actor: Sequence[Layer],
    critics: Sequence[Layer],
    batch: Batch,
    noise: Annotated[Tensor, "B A"],
    alpha: Annotated[Tensor, "..."],
    value: Value = SCALAR,
    which: str = "min",
) -> tuple[Annotated[Tensor, ""], Annotated[Tensor, "B A"], Entropy]:
    """J_pi = mean (alpha log pi(a | s) - min_i Q_i(s, a)), a ~ pi (eq. 9); without gradient, the actions and their
    entropy."""
    gaussian = policy(actor, batch.obs)
    action, log_prob = squashed_sample(gaussian, noise)
    q = q_for_actor(critics, batch.obs, action, value, which)
    loss = batch.mean(alpha * log_prob - q)
    return loss, action.detach(), Entropy(log_prob.detach(), gaussian.log_std.detach(), alpha)


def temperature_loss(
    log_alpha: Annotated[Tensor, "1"], batch: Batch, log_prob: Annotated[Tensor, "B"], target_entropy: float
) -> Annotated[Tensor, ""]:
    """J(alpha) = mean -alpha (log pi(a | s) + H) (eq. 18), alpha = exp(log_alpha)."""
    return -(log_alpha.exp() * batch.mean(log_prob + target_entropy)).sum()


def target_entropy(settings: SacConfig, actions: int) -> float:
    """H: as given; or A/2 log(2 pi e sigma^2), a Gaussian's (FlashSAC, arXiv 2604.04539); or -A (appendix D)."""
    if settings.target_entropy is not None:
        return settings.target_entropy
    if settings.target_std is not None:
        return actions / 2 * math.log(2 * math.pi * math.e * settings.target_std**2)
    return -float(actions)


class SAC(ActorCritic):
    """Soft Actor-Critic with automatic temperature. Targets move after every critic update, the policy and the
    temperature once every `policy_delay` of them."""

    noise_per_update = 2  # one for a' of the target, one for a of the policy

    def __init__(
        self,
        config: Config,
        sizes: tuple[int, int],
        device: torch.device | str,
        dtype: torch.dtype,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(config, sizes, device, dtype, ranks)
        settings, (_, action_size) = config.sac, sizes
        self.target_entropy = target_entropy(settings, action_size)
        self.actor.exact[-1].bias[..., action_size:] += math.log(settings.init_std)
        refresh([self.actor])
        self.best_actor.flat.copy_(self.actor.flat)  # an average starts there too
        self.log_alpha = torch.full((1,), math.log(settings.init_temperature), device=device, dtype=dtype)
        self._trained_log_alpha = self.log_alpha.detach().requires_grad_()
        self.optimizers["temperature"] = Adam(
            self.log_alpha, [self._trained_log_alpha], settings.temperature_lr, beta1=config.learner.adam_beta1
        )

    def parts(self) -> dict[str, Part]:
        return {**super().parts(), "log_alpha": self.log_alpha}

    def act(self, obs: Annotated[Tensor, "N O"], generator: torch.Generator | None = None) -> Annotated[Tensor, "N A"]:
        """tanh(u), u ~ N(mean, std). The standard deviation may be multiplied by a factor that rises evenly from the
        first world to the last."""
        gaussian = policy(self.actor.exact, obs)
        mean, (low, high) = gaussian.mean, (self.config.sac.exploration_scale, self.config.sac.exploration_scale_max)
        noise = self.noise.draw(len(obs), generator)
        if high is not None:
            noise *= self.over_worlds(low, high, mean)
        elif low != 1:
            noise *= low
        return (mean + gaussian.log_std.exp() * noise).tanh()

    def act_deterministic(self, obs: Annotated[Tensor, "N O"]) -> Annotated[Tensor, "N A"]:
        return best_action(self.best_actor.exact, obs)

    def critic_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> CriticGradient:
        if not self.has_targets:
            return self._joint_gradient(batch, noise[0])
        with torch.no_grad():
            alpha = self.log_alpha.exp()
            target = sac_target(
                self.actor.frozen, self.networks["target_critics"].frozen, batch, noise[0], alpha, self.value
            )
        loss, outputs = sac_critic_loss(self.critics.layers, batch, target, self.value)
        return CriticGradient(self.gradients(critic=loss), loss.detach(), outputs, target)

    def _joint_gradient(self, batch: Batch, noise: Annotated[Tensor, "B A"]) -> CriticGradient:
        """With BatchNorm the critics are their own targets."""
        with torch.no_grad():
            alpha = self.log_alpha.exp()
            next_action, log_prob = squashed_sample(policy(self.actor.frozen, batch.next_obs), noise)
        outputs, next_outputs, drift = self.joint(batch, next_action)
        target = self.value.target(batch, next_outputs, -alpha * log_prob)
        loss = sac_error(outputs, batch, target, self.value)
        return CriticGradient(self.gradients(critic=loss), loss.detach(), outputs.detach(), target, drift)

    def policy_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> PolicyGradient:
        alpha, which = self.log_alpha.exp(), self.config.learner.actor_q
        actor, drift = self.actor_on(batch)
        loss, action, entropy = sac_actor_loss(actor, self.critics.frozen, batch, noise[1], alpha, self.value, which)
        losses = {"actor": loss}
        if self.config.sac.auto_temperature:
            losses["temperature"] = temperature_loss(
                self._trained_log_alpha, batch, entropy.log_prob, self.target_entropy
            )
        return PolicyGradient(self.gradients(**losses), loss.detach(), action, entropy, drift)

    def update_targets(self, policy_moved: bool) -> None:
        self.move_targets()
