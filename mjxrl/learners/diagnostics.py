"""Numbers that show whether learning is healthy: 0-d tensors on the device, over valid transitions."""

from __future__ import annotations

import torch

from mjxrl.learners.algorithm import CriticGradient, PolicyGradient
from mjxrl.learners.values import Value
from mjxrl.replay import Batch
from mjxrl.storage.state import State
from mjxrl.worlds.worlds import Goals

SATURATED = 0.99  # actions beyond this, in absolute value, count as saturated


@torch.no_grad()
def critic_metrics(batch: Batch, found: CriticGradient, value: Value) -> State:
    """How the critics stand to their target.

    `q_bound` is the value that the batch's largest reward would have if it came at every step for ever: what Q may
    reach without entropy bonuses. `replay_reward` is the mean of the windows' rewards: with n steps, of their sum. All
    values are in the units of scaled rewards.
    """
    q, target = value.q(found.outputs), value.q_of_target(found.target)
    least, errors = q.amin(0, keepdim=True), (q - target).abs()
    members, means = len(q), batch.mean(torch.cat([q, least, target[None], errors, batch.reward[None]]))
    bounds = batch.reward.abs() / (1 - batch.discount).clamp(min=1e-6)
    # of no transition the largest is 0; NaN where one is
    largest = torch.stack([target, bounds]).masked_fill(batch.invalid, -torch.inf).amax(-1)
    largest = largest.masked_fill(batch.invalid.all(), 0)
    each = {f"q{i + 1}": means[i] for i in range(members)}
    return each | {
        "critic_loss": found.loss,
        "q": means[:members].mean(),
        "q_min": means[members],
        "target_q": means[members + 1],
        "target_q_max": largest[0],
        "td_error": means[members + 2 : -1].mean(),
        "q_bound": largest[1],
        "critic_grad_norm": found.gradients["critic"].norm(),
        "replay_reward": means[-1],
    }


@torch.no_grad()
def policy_metrics(batch: Batch, found: PolicyGradient) -> State:
    """How the policy stands, on the batch's observations."""
    each = {"action_saturation": (found.action.abs() > SATURATED).to(found.loss.dtype).mean(-1)}
    if found.entropy is not None:
        each |= {"entropy": -found.entropy.log_prob, "log_std": found.entropy.log_std.mean(-1)}
    means = batch.mean(torch.stack(list(each.values())))
    metrics = {"actor_loss": found.loss, "actor_grad_norm": found.gradients["actor"].norm()}
    metrics |= dict(zip(each, means.unbind(), strict=True))
    return metrics if found.entropy is None else metrics | {"temperature": found.entropy.temperature[0]}


def goal_metrics(batch: Batch, goals: Goals) -> State:
    """How far from their goals the transitions of a batch arrive, and the share that reaches them."""
    arrived, desired = (batch.next_obs[:, columns] for columns in (goals.achieved, goals.desired))
    distance = torch.linalg.vector_norm(arrived - desired, dim=-1)
    reached = (distance < goals.threshold).to(distance.dtype)
    return {"goal_distance": batch.mean(distance), "goal_reached": batch.mean(reached)}
