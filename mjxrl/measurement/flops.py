"""Arithmetic of one update, counted from the networks' widths."""

from __future__ import annotations

from mjxrl.config import Config
from mjxrl.networks.spec import actor_spec, critic_spec


def forward(products: list[tuple[int, int]], batch: int) -> int:
    """FLOPs of a batch's matrix products of these widths: sum of 2 B in out."""
    return sum(2 * batch * fan_in * fan_out for fan_in, fan_out in products)


def per_update(config: Config, obs_size: int, action_size: int) -> float:
    """Floating-point operations of one update, matrix products only (a multiplication and an addition are two).

    With F_a, F_c the forward pass of the actor and of one critic for a batch of B, and f_a, f_c their first layers':

        critic update   targets          F_a + E F_c
                        forward          E F_c
                        backward         E F_c  (weights)  +  E (F_c - f_c)  (inputs, of every layer but the first);
                                         with BatchNorm twice that, unless half the gradient is left out
        policy update   forward          F_a + n F_c
                        backward         n (F_c - f_c + 2 B A h)  (critics: no weights, and of the inputs the action)
                                         F_a + (F_a - f_a)  (actor)

    E is the number of critics, n those that the policy climbs (1 with --learner.actor-q first), h the width of the
    critics' first layer. A policy update falls due once in `policy_delay` updates. Activations, losses, noise, Adam
    and target averaging are left out: they are bound by memory, and small beside the products.
    """
    settings = config.learner
    batch, critics = settings.batch_size, settings.num_critics
    actor = actor_spec(config, obs_size, action_size).products
    critic = critic_spec(config, obs_size, action_size).products
    actor_pass, critic_pass = forward(actor, batch), forward(critic, batch)
    actor_first, critic_first = forward(actor[:1], batch), forward(critic[:1], batch)
    climbed = 1 if settings.actor_q == "first" else critics

    backward = 2 if settings.critic_norm == "batch" and not settings.half_gradient else 1
    critic_update = actor_pass + critics * (2 * critic_pass + backward * (2 * critic_pass - critic_first))
    through_critics = 2 * critic_pass - critic_first + 2 * batch * action_size * critic[0][1]
    policy_update = climbed * through_critics + 3 * actor_pass - actor_first
    return critic_update + policy_update / settings.policy_delay
