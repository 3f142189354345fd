"""Numbers that show whether learning is healthy: 0-d tensors on the device, over valid transitions."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mjxrl.learners.algorithm import CriticGradient, PolicyGradient
from mjxrl.learners.batches import masked_mean
from mjxrl.replay import Batch
from mjxrl.storage.state import State
from mjxrl.worlds.worlds import Goals

SATURATED = 0.99  # actions beyond this, in absolute value, count as saturated


def masked_max(values: Annotated[Tensor, "B"], valid: Annotated[Tensor, "B"]) -> Annotated[Tensor, ""]:
    """Largest over valid transitions, NaN if one is; 0 where none is valid."""
    return torch.where((valid > 0).any(), torch.where(valid > 0, values, -torch.inf).max(), 0)


@torch.no_grad()
def critic_metrics(batch: Batch, found: CriticGradient, target: Annotated[Tensor, "B"]) -> State:
    """How the critics stand to `target`, what the Q-values should be.

    `q_bound` is the value that the batch's largest reward would have if it came at every step for ever: what Q may
    reach without entropy bonuses. `replay_reward` is the mean of the windows' rewards: with n steps, of their sum. All
    values are in the units of scaled rewards.
    """
    q, valid = found.q, batch.valid
    means = masked_mean(torch.cat([q, q.amin(0, keepdim=True), target[None], (q - target).abs()]), valid)
    members = len(q)
    each = {f"q{i + 1}": means[i] for i in range(members)}
    return each | {
        "critic_loss": found.loss,
        "q": means[:members].mean(),
        "q_min": means[members],
        "target_q": means[members + 1],
        "target_q_max": masked_max(target, valid),
        "td_error": means[members + 2 :].mean(),
        "q_bound": masked_max(batch.reward.abs() / (1 - batch.discount).clamp(min=1e-6), valid),
        "critic_grad_norm": found.gradients["critic"].norm(),
        "replay_reward": masked_mean(batch.reward, valid),
    }


@torch.no_grad()
def policy_metrics(batch: Batch, found: PolicyGradient) -> State:
    """How the policy stands, on the batch's observations."""
    saturated = (found.action.abs() > SATURATED).to(found.loss.dtype).mean(-1)
    metrics = {
        "actor_loss": found.loss,
        "actor_grad_norm": found.gradients["actor"].norm(),
        "action_saturation": masked_mean(saturated, batch.valid),
    }
    if found.entropy is not None:
        metrics |= {
            "entropy": -masked_mean(found.entropy.log_prob, batch.valid),
            "log_std": masked_mean(found.entropy.log_std.mean(-1), batch.valid),
            "temperature": found.entropy.temperature[0],
        }
    return metrics


def goal_metrics(batch: Batch, goals: Goals) -> State:
    """How far from their goals the transitions of a batch arrive, and the share that reaches them."""
    arrived, desired = (batch.next_obs[:, columns] for columns in (goals.achieved, goals.desired))
    distance = torch.linalg.vector_norm(arrived - desired, dim=-1)
    reached = (distance < goals.threshold).to(distance.dtype)
    return {"goal_distance": masked_mean(distance, batch.valid), "goal_reached": masked_mean(reached, batch.valid)}
