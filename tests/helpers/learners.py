"""Small learners and replays that several test modules use."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any, cast

import pytest
import torch

from mjxrl.config import Algorithm, Config, LearnerConfig
from mjxrl.learners import Learner, make_learner
from mjxrl.learners.diagnostics import critic_metrics, policy_metrics
from mjxrl.replay import Batch, Replay
from mjxrl.storage.state import State
from mjxrl.worlds.worlds import StepResult

OBS, ACTION, WORLDS = 5, 2, 4
SMALL = LearnerConfig(batch_size=16, actor_hidden=(16, 16), critic_hidden=(16, 16))
both = pytest.mark.parametrize("algo", ["td3", "sac"])
needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
SETTINGS: list[dict[str, Any]] = [
    {},
    {"policy_delay": 3, "n_step": 3, "normalize_obs": True, "lr_schedule": "linear"},
    {"critic": "categorical", "atoms": 11, "scale_rewards": True, "policy_delay": 2, "critic_norm": "layer"},
    {"blocks": True, "actor_hidden": (8, 8), "critic_hidden": (8, 8), "hold_noise": 4},
    {"critic_norm": "batch", "half_gradient": True, "policy_delay": 3, "adam_beta1": 0.5, "policy_average": 0.1},
    {"critic_norm": "batch", "actor_norm": "batch", "policy_delay": 2, "policy_average": 0.1},
]


def learner_of(algo: str, dtype=torch.float32, seed=0, device="cpu", **settings: Any) -> Learner:
    """Of as many worlds as `filled_replay` has, in a run of 50,000 steps."""
    learner = dataclasses.replace(SMALL, **settings)
    config = Config(algo=cast(Algorithm, algo), num_envs=WORLDS, total_steps=50_000, seed=seed, learner=learner)
    return make_learner(config, OBS, ACTION, device, dtype)


def filled_replay(dtype=torch.float32, device="cpu") -> Replay:
    """60 random vector steps, with terminations, truncations and invalid transitions; the ring holds the last 40."""
    g = torch.Generator().manual_seed(0)
    replay = Replay(WORLDS, OBS, ACTION, capacity=WORLDS * 40, time_limit=9, device=device, dtype=dtype)
    replay.start(torch.randn(WORLDS, OBS, generator=g))
    for t in range(60):
        terminated = torch.rand(WORLDS, generator=g) < 0.05
        truncated = torch.full((WORLDS,), t % 9 == 8)
        valid = torch.rand(WORLDS, generator=g) > 0.05
        obs, final = torch.randn(2, WORLDS, OBS, generator=g)
        action = torch.rand(WORLDS, ACTION, generator=g) * 2 - 1
        reward = torch.randn(WORLDS, generator=g)
        values = [x.to(device) for x in (obs, reward, terminated, truncated, final, valid)]
        replay.append(action.to(device), StepResult._make([*values, {}, {}, None]))
    return replay


def random_batch(dtype=torch.float32, size=16) -> Batch:
    g = torch.Generator().manual_seed(4)
    return Batch(
        obs=torch.randn(size, OBS, generator=g).to(dtype),
        action=(torch.rand(size, ACTION, generator=g) * 2 - 1).to(dtype),
        reward=torch.randn(size, generator=g).to(dtype),
        discount=torch.full((size,), 0.9),
        terminated=torch.arange(size) % 5 == 0,
        next_obs=torch.randn(size, OBS, generator=g).to(dtype),
        invalid=torch.zeros(size, dtype=torch.bool),
        counted=torch.tensor(size),
    )


def without(batch: Batch, rows: list[int] | slice) -> Batch:
    """A batch in which these transitions are not valid."""
    invalid = batch.invalid.clone()
    invalid[rows] = True
    return batch._replace(invalid=invalid, counted=(~invalid).sum().clamp(min=1))


def moved(learner: Learner) -> Learner:
    """With parameters far from the first ones, which say nearly nothing."""
    g = torch.Generator().manual_seed(2)
    for network in (learner.algorithm.actor, learner.algorithm.critics):
        network.flat.add_(0.3 * torch.randn(network.flat.shape, dtype=network.flat.dtype, generator=g))
    return learner


def measured(learner: Learner, batch: Batch, noise: torch.Tensor, policy_due: bool) -> State:
    """Make one update on a prepared batch; returns what is measured of it."""
    critics, policy = learner.updates.update(batch, noise, policy_due=policy_due)
    metrics = critic_metrics(batch, critics, learner.algorithm.value)
    return metrics if policy is None else metrics | policy_metrics(batch, policy)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


LOSSES = {"critic_loss", "actor_loss"}
LOSS_TOLERANCE = 1e-3  # relative, over 20 updates in float32, where sums have another order


def assert_same_losses(replay: Replay, learners: list[Learner], rtol: float = LOSS_TOLERANCE) -> None:
    """20 updates in float32: every loss of the two learners agrees."""
    device = learners[0].device
    generators = [torch.Generator(device).manual_seed(1) for _ in learners]
    for _ in range(10):
        one, other = (x.update(replay, 2, g) for x, g in zip(learners, generators, strict=True))
        assert one.keys() >= LOSSES
        for name in LOSSES:
            torch.testing.assert_close(one[name], other[name], rtol=rtol, atol=1e-5)
