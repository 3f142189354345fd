"""TD3: Fujimoto, van Hoof and Meger (2018), "Addressing Function Approximation Error in Actor-Critic Methods",
arXiv 1802.09477."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import Config
from ..networks import Layer, actor_outputs, first_member, q_values
from ..replay import Batch
from .common import ActorCritic, State, bellman_target, masked_mean


def policy(actor: Sequence[Layer], obs: Tensor) -> Tensor:
    """pi(s), (B, A) in [-1, 1], of normalised observations (B, O)."""
    return actor_outputs(actor, obs).tanh()


def td3_target(
    target_actor: Sequence[Layer],
    target_critics: Sequence[Layer],
    batch: Batch,
    noise: Tensor,
    *,
    target_noise: float,
    noise_clip: float,
) -> Tensor:
    """Clipped double Q-learning (eq. 10) with target policy smoothing (eq. 14): (B,).

    y = r + gamma min_i Q'_i(s', pi'(s') + eps),  eps ~ clip(N(0, sigma), -c, c); noise is (B, A) standard normal.
    """
    epsilon = (target_noise * noise).clamp(-noise_clip, noise_clip)
    next_action = (policy(target_actor, batch.next_obs) + epsilon).clamp(-1, 1)
    next_value = q_values(target_critics, batch.next_obs, next_action).amin(0)
    return bellman_target(batch, next_value)


def td3_critic_loss(critics: Sequence[Layer], batch: Batch, target: Tensor) -> tuple[Tensor, Tensor]:
    """sum_i mean (y - Q_i(s, a))^2 (algorithm 1), and the Q-values, (E, B)."""
    q = q_values(critics, batch.obs, batch.action)
    return masked_mean((target - q).square(), batch.valid).sum(), q


def td3_actor_loss(actor: Sequence[Layer], critics: Sequence[Layer], batch: Batch) -> Tensor:
    """-mean Q_1(s, pi(s)), whose gradient is the deterministic policy gradient (algorithm 1)."""
    q = q_values(first_member(critics), batch.obs, policy(actor, batch.obs))
    return -masked_mean(q[0], batch.valid)


class TD3(ActorCritic):
    """Twin Delayed DDPG. Policy and targets move together, once every `policy_delay` critic updates."""

    noise_per_update = 1

    def __init__(
        self, config: Config, obs_size: int, action_size: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        super().__init__(config, obs_size, action_size, action_size, device, dtype)
        self.target_actor = self.actor.copy()
        self.networks["target_actor"] = self.target_actor

    @torch.no_grad()
    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Exploring actions, clip(pi(s) + N(0, sigma), -1, 1), (N, A), of raw observations, (N, O)."""
        action = self.act_deterministic(obs)
        noise = torch.randn(action.shape, generator=generator, device=self.device, dtype=self.dtype)
        return action.add(noise, alpha=self.config.td3.exploration_noise).clamp_(-1, 1)

    @torch.no_grad()
    def act_deterministic(self, obs: Tensor) -> Tensor:
        """pi(s), (N, A), of raw observations, (N, O)."""
        return policy(self.actor.frozen, self.norm.normalize(obs))

    def update_critic(self, batch: Batch, noise: Tensor) -> State:
        settings = self.config.td3
        with torch.no_grad():
            target = td3_target(
                self.target_actor.frozen,
                self.target_critics.frozen,
                batch,
                noise[0],
                target_noise=settings.target_noise,
                noise_clip=settings.target_noise_clip,
            )
        loss, q = td3_critic_loss(self.critics.layers, batch, target)
        self.critic_adam.minimize(loss)
        return {"critic_loss": loss.detach(), "q": masked_mean(q.detach().mean(0), batch.valid)}

    def update_policy(self, batch: Batch, noise: Tensor) -> State:
        loss = td3_actor_loss(self.actor.layers, self.critics.frozen, batch)
        self.actor_adam.minimize(loss)
        return {"actor_loss": loss.detach()}

    def update_targets(self, policy_updated: bool) -> None:
        if policy_updated:
            self.target_critics.follow(self.critics, self.config.learner.tau)
            self.target_actor.follow(self.actor, self.config.learner.tau)
