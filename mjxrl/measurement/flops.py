"""Arithmetic of one update, counted from layer sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mjxrl.config import Config


def forward(sizes: Sequence[int], batch: int) -> int:
    """FLOPs of one pass of a multilayer perceptron: sum of 2 B in out over its layers."""
    return sum(2 * batch * fan_in * fan_out for fan_in, fan_out in pairwise(sizes))


def per_update(config: Config, obs_size: int, action_size: int) -> float:
    """Floating-point operations of one update, matrix products only (a multiplication and an addition are two).

    With F_a, F_c the forward pass of the actor and of one critic for a batch of B, and f_a, f_c their first layers':

        critic update   targets          F_a + E F_c
                        forward          E F_c
                        backward         E F_c  (weights)  +  E (F_c - f_c)  (inputs, of every layer but the first)
        policy update   forward          F_a + n F_c
                        backward         n (F_c - f_c + 2 B A h)  (critics: no weights, and of the inputs the action)
                                         F_a + (F_a - f_a)  (actor)

    E is the number of critics, n those that the policy climbs (1 with --learner.actor-q first), h the width of the
    critics' first layer. A policy update falls due once in `policy_delay` updates. Activations, losses, noise, Adam
    and target averaging are left out: they are bound by memory, and small beside the products.
    """
    settings = config.learner
    batch, critics = settings.batch_size, settings.num_critics
    actor = (obs_size, *settings.actor_hidden, action_size * (2 if config.algo == "sac" else 1))
    critic = (
        obs_size + action_size,
        *settings.critic_hidden,
        settings.atoms if settings.critic == "categorical" else 1,
    )
    actor_pass, critic_pass = forward(actor, batch), forward(critic, batch)
    actor_first, critic_first = forward(actor[:2], batch), forward(critic[:2], batch)
    climbed = 1 if settings.actor_q == "first" else critics

    critic_update = actor_pass + critics * (4 * critic_pass - critic_first)
    through_critics = 2 * critic_pass - critic_first + 2 * batch * action_size * critic[1]
    policy_update = climbed * through_critics + 3 * actor_pass - actor_first
    return critic_update + policy_update / settings.policy_delay
