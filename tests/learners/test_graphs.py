"""Updates by CUDA graphs equal eager ones. Without a GPU: the same chunks, buffers and phases, launched eagerly."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mjxrl.config import Config
from mjxrl.learners import graphs, make_learner
from mjxrl.learners.common import ActorCritic
from mjxrl.learners.graphs import Replayed, UpdateGraphs
from mjxrl.replay import Replay
from mjxrl.storage.state import State
from tests.learners.test_common import ACTION, OBS, SMALL, WORLDS, filled_replay, same

both = pytest.mark.parametrize("algo", ["td3", "sac"])
SETTINGS: list[dict[str, Any]] = [
    {},
    {"policy_delay": 3, "n_step": 3, "normalize_obs": True, "lr_schedule": "linear"},
    {"critic": "categorical", "atoms": 11, "scale_rewards": True, "policy_delay": 2, "layer_norm": True},
]


def learner_of(algo: str, device: str, updates: int, dtype=torch.float64, **settings: Any) -> ActorCritic:
    config = dataclasses.replace(SMALL, updates_per_step=updates, **settings)
    learner = make_learner(
        Config(algo=algo, num_envs=WORLDS, total_steps=50_000, learner=config), OBS, ACTION, device, dtype
    )
    assert isinstance(learner, ActorCritic)
    return learner


def replay_on(device: str, dtype=torch.float64) -> Replay:
    source = filled_replay(dtype)
    replay = Replay(WORLDS, OBS, ACTION, capacity=WORLDS * 40, time_limit=9, device=device, dtype=dtype)
    replay.load_state_dict(source.state_dict())
    return replay


def launched_eagerly(body: Callable[[], State]) -> tuple[Replayed, State]:
    """As a capture, but the launch runs the function again: outputs stay in place."""
    outputs: State = {}
    return (lambda: outputs.update(body())), outputs


def fresh_numbers(learner: ActorCritic, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    obs, reward = torch.randn(WORLDS, OBS, generator=g), torch.randn(WORLDS, generator=g)
    yes = torch.ones(WORLDS, dtype=torch.bool, device=learner.device)
    learner.observe(obs.to(learner.device, learner.dtype))
    learner.observe_rewards(reward.to(learner.device, learner.dtype), ~yes, yes)


@both
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("updates", [1, 6, 17, 32])
def test_chunks_buffers_and_phases_give_what_the_plain_loop_gives(algo, settings, updates):
    replay, plain, chunked = replay_on("cpu"), *(learner_of(algo, "cpu", updates, **settings) for _ in range(2))
    for learner in (plain, chunked):
        learner.update(replay, 1, torch.Generator().manual_seed(5))  # a phase in the middle of the delay
    chunked._graphs = UpdateGraphs(chunked, replay, updates)
    chunked._graphs.capture(launched_eagerly)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    for call in range(4):
        metrics = []
        for learner, g in zip((plain, chunked), generators, strict=True):
            fresh_numbers(learner, call)
            metrics.append(learner.update(replay, updates, g))
        assert same(*metrics)
        assert same(plain.state_dict(), chunked.state_dict())
    chunked.load_state_dict(plain.state_dict())  # copied in: the graphs go on with it
    last = [x.update(replay, updates, g) for x, g in zip((plain, chunked), generators, strict=True)]
    assert same(*last) and same(plain.state_dict(), chunked.state_dict())


def test_another_replay_or_number_of_updates_runs_eagerly():
    replay, learner = replay_on("cpu"), learner_of("td3", "cpu", 4)
    learner._graphs = UpdateGraphs(learner, replay, 4)  # nothing captured: using it would raise
    learner.update(replay, 3, torch.Generator())
    learner.update(replay_on("cpu"), 4, torch.Generator())
    with pytest.raises(KeyError):
        learner.update(replay, 4, torch.Generator())


def test_a_capture_that_fails_is_told_and_leaves_the_state(monkeypatch):
    replay, learner = replay_on("cpu"), learner_of("sac", "cpu", 4)
    before = learner.state_dict()

    def broken(*_: Any) -> None:
        learner.critics.flat.zero_()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs.torch.cuda, "current_stream", lambda device: "the caller's")
    streams: list[Any] = []
    monkeypatch.setattr(graphs.torch.cuda, "set_stream", streams.append)
    monkeypatch.setattr(graphs.torch.cuda, "synchronize", broken)
    with pytest.warns(UserWarning, match="without CUDA graphs.*not permitted when stream is capturing$"):
        assert graphs.capture_updates(learner, replay, 4) is None
    assert same(before, learner.state_dict()) and streams == ["the caller's"]


@pytest.mark.parametrize(("updates", "delay", "rounds"), [(1, 4, 4), (2, 4, 2), (8, 4, 1), (3, 4, 2), (16, 1, 1)])
def test_a_warm_up_is_long_enough_for_a_policy_update(updates, delay, rounds):
    learner = learner_of("td3", "cpu", updates, policy_delay=delay)
    assert UpdateGraphs(learner, replay_on("cpu"), updates).rounds_to_policy == rounds


def test_a_cpu_captures_nothing():
    replay, learner = replay_on("cpu"), learner_of("td3", "cpu", 4, graphs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.warm_up(replay)
    assert learner._graphs is None


LOSSES = {"critic_loss", "actor_loss"}
LOSS_TOLERANCE = 1e-3  # relative, over 20 updates in float32, where sums have another order


def assert_same_losses(replay: Replay, learners: list[ActorCritic], rtol: float = LOSS_TOLERANCE) -> None:
    """20 updates in float32: every loss of the two learners agrees."""
    device = learners[0].device
    generators = [torch.Generator(device).manual_seed(1) for _ in learners]
    for _ in range(10):
        one, other = (x.update(replay, 2, g) for x, g in zip(learners, generators, strict=True))
        assert one.keys() >= LOSSES
        for name in LOSSES:
            torch.testing.assert_close(one[name], other[name], rtol=rtol, atol=1e-5)


@pytest.mark.gpu
@both
@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_losses_agree_in_float32(algo, settings):
    replay = replay_on("cuda", torch.float32)
    settings = settings | {"policy_delay": 2}
    learners = [learner_of(algo, "cuda", 2, torch.float32, graphs=on, **settings) for on in (False, True)]
    learners[1].warm_up(replay)
    assert learners[1]._graphs is not None
    assert_same_losses(replay, learners)


@pytest.mark.gpu
@both
@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_updates_equal_eager_ones(algo, settings):
    """In float64, 100 updates from the same seed: to 1e-9."""
    replay = replay_on("cuda")
    plain, captured = (learner_of(algo, "cuda", 20, graphs=on, **settings) for on in (False, True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured.warm_up(replay)
    assert captured._graphs is not None and same(plain.state_dict(), captured.state_dict())
    generators = [torch.Generator("cuda").manual_seed(1) for _ in range(2)]
    for call in range(5):
        for learner, g in zip((plain, captured), generators, strict=True):
            fresh_numbers(learner, call)
            learner.update(replay, 20, g)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, captured.state_dict()[name], atol=1e-9, rtol=0)
