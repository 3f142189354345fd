"""Five probe environments whose values are known by hand, and a loop that trains a learner on one.

After Jones (2021), "Debugging Reinforcement Learning Systems": each needs one thing more than the one before it, so the
first that is not learned tells which part is broken: the critic's regression, its use of the observation, its
bootstrap, the policy's gradient, and all of them together. Every episode ends in termination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners import Learner, make_learner
from mjxrl.networks.mlp import critic_outputs
from mjxrl.replay import Replay
from mjxrl.worlds.worlds import StepResult

GAMMA = 0.9
WORLDS = 16


class Probe(NamedTuple):
    """One state of one number, one action."""

    length: int
    """Steps of an episode."""
    observe: Callable[[int, Tensor], Tensor]
    """(t, draw of +-1 (N,)) to the observation at step t of the episode, (N,)."""
    reward: Callable[[int, Tensor, Tensor], Tensor]
    """(t, obs (N,), action (N,)) to the reward, (N,)."""
    cases: list[tuple[float, float]]
    """Observations, and the best value that can be had from each."""
    action: Callable[[float], float] | None = None
    """The best action by observation, if one is better than the others."""


def _zero(t: int, sign: Tensor) -> Tensor:
    return torch.zeros_like(sign)


def _sign(t: int, sign: Tensor) -> Tensor:
    return sign


PROBES: dict[str, Probe] = {
    "constant reward": Probe(1, _zero, lambda t, obs, action: torch.ones_like(obs), [(0, 1)]),
    "reward by observation": Probe(1, _sign, lambda t, obs, action: obs, [(-1, -1), (1, 1)]),
    "delayed reward": Probe(
        2,
        lambda t, sign: torch.full_like(sign, t),
        lambda t, obs, action: torch.full_like(obs, t),
        [(0, GAMMA), (1, 1)],
    ),
    "reward by action": Probe(1, _zero, lambda t, obs, action: 1 - (action - 0.5).square(), [(0, 1)], lambda obs: 0.5),
    "both": Probe(
        1, _sign, lambda t, obs, action: 1 - (action - 0.5 * obs).square(), [(-1, 1), (1, 1)], lambda obs: 0.5 * obs
    ),
}


def train(probe: Probe, config: Config, steps: int, updates: int) -> Learner:
    """Alternate one vector step and `updates` updates, `steps` times, after 20 random steps."""
    torch.manual_seed(0)
    learner = make_learner(config, 1, 1, "cpu")
    g = torch.Generator().manual_seed(0)
    replay = Replay(WORLDS, 1, 1, capacity=WORLDS * 1000, time_limit=None, device="cpu")

    def draw() -> Tensor:
        return (torch.rand(WORLDS, generator=g) < 0.5) * 2.0 - 1.0

    sign, t = draw(), 0
    obs = probe.observe(t, sign)
    replay.start(obs.unsqueeze(-1))
    yes = torch.ones(WORLDS, dtype=torch.bool)
    for step in range(20 + steps):
        warm = step >= 20
        action = learner.act(obs.unsqueeze(-1), g) if warm else torch.rand(WORLDS, 1, generator=g) * 2 - 1
        reward = probe.reward(t, obs, action[:, 0])
        ended = yes if t == probe.length - 1 else ~yes
        final = probe.observe(min(t + 1, probe.length - 1), sign)
        t = (t + 1) % probe.length
        sign = draw() if t == 0 else sign
        obs = probe.observe(t, sign)
        result = StepResult(obs.unsqueeze(-1), reward, ended, ~yes, final.unsqueeze(-1))
        replay.append(action, result)
        learner.observe(result)
        if warm:
            learner.update(replay, updates, g)
    return learner


def errors(probe: Probe, learner: Learner) -> list[float]:
    """How far the value of the policy's own action, by Q_1 and Q_2, is from the best, relative to it; and how far the
    action is, relative to the range of actions."""
    found = []
    factor = learner.return_scale.factor
    scale = 1.0 if factor is None else factor.item()
    for obs, best in probe.cases:
        batch = torch.full((1, 1), float(obs))
        action = learner.act_deterministic(batch)
        outputs = critic_outputs(learner.algorithm.critics.frozen, learner.norm.normalize(batch), action)
        q = learner.algorithm.value.q(outputs)[:, 0] / scale
        found += [abs(value - best) / abs(best) for value in q.tolist()]
        if probe.action is not None:
            found.append(abs(action.item() - probe.action(obs)) / 2)
    return found
