"""TD3: Fujimoto, van Hoof and Meger (2018), "Addressing Function Approximation Error in Actor-Critic Methods",
arXiv 1802.09477."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners.actor_critic import ActorCritic
from mjxrl.learners.algorithm import CriticGradient, PolicyGradient
from mjxrl.learners.values import SCALAR, Value, q_for_actor
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.networks.layers import Layer
from mjxrl.networks.mlp import actor_outputs, critic_outputs
from mjxrl.replay import Batch


def policy(actor: Sequence[Layer], obs: Annotated[Tensor, "B O"]) -> Annotated[Tensor, "B A"]:
    """pi(s), in [-1, 1]."""
    return actor_outputs(actor, obs).tanh()


def smoothed_action(
    actor: Sequence[Layer], obs: Annotated[Tensor, "B O"], noise: Annotated[Tensor, "B A"], sigma: float, clip: float
) -> Annotated[Tensor, "B A"]:
    """pi(s) + eps, eps ~ clip(N(0, sigma), -c, c): target policy smoothing (section 5.3); noise is standard normal."""
    return (policy(actor, obs) + (sigma * noise).clamp(-clip, clip)).clamp(-1, 1)


def td3_target(
    target_actor: Sequence[Layer],
    target_critics: Sequence[Layer],
    batch: Batch,
    noise: Annotated[Tensor, "B A"],
    *,
    target_noise: float,
    noise_clip: float,
    value: Value = SCALAR,
) -> Annotated[Tensor, "B *K"]:
    """Clipped double Q-learning (eq. 10) with target policy smoothing (section 5.3), or K atoms of it.

    y = r + gamma min_i Q'_i(s', pi'(s') + eps).
    """
    next_action = smoothed_action(target_actor, batch.next_obs, noise, target_noise, noise_clip)
    return value.target(batch, critic_outputs(target_critics, batch.next_obs, next_action))


def td3_error(
    outputs: Annotated[Tensor, "E B out"], batch: Batch, target: Annotated[Tensor, "B *K"], value: Value = SCALAR
) -> Annotated[Tensor, ""]:
    """sum_i mean (y - Q_i(s, a))^2 (algorithm 1), of what the critics say."""
    return batch.mean(value.error(outputs, target)).sum()


def td3_critic_loss(
    critics: Sequence[Layer], batch: Batch, target: Annotated[Tensor, "B *K"], value: Value = SCALAR
) -> tuple[Annotated[Tensor, ""], Annotated[Tensor, "E B out"]]:
    """The error of the critics, and what they say."""
    outputs = critic_outputs(critics, batch.obs, batch.action)
    return td3_error(outputs, batch, target, value), outputs.detach()


def td3_actor_loss(
    actor: Sequence[Layer], critics: Sequence[Layer], batch: Batch, value: Value = SCALAR, which: str = "first"
) -> tuple[Annotated[Tensor, ""], Annotated[Tensor, "B A"]]:
    """-mean Q_1(s, pi(s)), whose gradient is the deterministic policy gradient (algorithm 1), and pi(s)."""
    action = policy(actor, batch.obs)
    return -batch.mean(q_for_actor(critics, batch.obs, action, value, which)), action.detach()


class TD3(ActorCritic):
    """Twin Delayed DDPG. Policy and targets move together, once every `policy_delay` critic updates."""

    noise_per_update = 1

    def __init__(
        self,
        config: Config,
        sizes: tuple[int, int],
        device: torch.device | str,
        dtype: torch.dtype,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(config, sizes, device, dtype, ranks)
        if self.has_targets:
            self.networks["target_actor"] = self.actor.copy()

    def act(self, obs: Annotated[Tensor, "N O"], generator: torch.Generator | None = None) -> Annotated[Tensor, "N A"]:
        """clip(pi(s) + N(0, sigma), -1, 1). sigma may rise evenly from the first world to the last (Li et al. 2023,
        arXiv 2307.12983)."""
        action = policy(self.actor.exact, obs)
        noise = self.noise.draw(len(obs), generator)
        low, high = self.config.td3.exploration_noise, self.config.td3.exploration_noise_max
        if high is None:
            return action.add(noise, alpha=low).clamp_(-1, 1)
        return action.addcmul(noise, self.over_worlds(low, high, action)).clamp_(-1, 1)

    def act_deterministic(self, obs: Annotated[Tensor, "N O"]) -> Annotated[Tensor, "N A"]:
        """pi(s)."""
        return policy(self.best_actor.exact, obs)

    def critic_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> CriticGradient:
        settings = self.config.td3
        if not self.has_targets:
            return self._joint_gradient(batch, noise[0])
        with torch.no_grad():
            target = td3_target(
                self.networks["target_actor"].frozen,
                self.networks["target_critics"].frozen,
                batch,
                noise[0],
                target_noise=settings.target_noise,
                noise_clip=settings.target_noise_clip,
                value=self.value,
            )
        loss, outputs = td3_critic_loss(self.critics.layers, batch, target, self.value)
        return CriticGradient(self.gradients(critic=loss), loss.detach(), outputs, target)

    def _joint_gradient(self, batch: Batch, noise: Annotated[Tensor, "B A"]) -> CriticGradient:
        """With BatchNorm the networks are their own targets."""
        sigma, clip = self.config.td3.target_noise, self.config.td3.target_noise_clip
        with torch.no_grad():
            next_action = smoothed_action(self.actor.frozen, batch.next_obs, noise, sigma, clip)
        outputs, next_outputs, drift = self.joint(batch, next_action)
        target = self.value.target(batch, next_outputs)
        loss = td3_error(outputs, batch, target, self.value)
        return CriticGradient(self.gradients(critic=loss), loss.detach(), outputs.detach(), target, drift)

    def policy_gradient(self, batch: Batch, noise: Annotated[Tensor, "D B A"]) -> PolicyGradient:
        which = self.config.learner.actor_q
        actor, drift = self.actor_on(batch)
        loss, action = td3_actor_loss(actor, self.critics.frozen, batch, self.value, which)
        return PolicyGradient(self.gradients(actor=loss), loss.detach(), action, drift=drift)

    def update_targets(self, policy_moved: bool) -> None:
        if policy_moved:
            self.move_targets()
