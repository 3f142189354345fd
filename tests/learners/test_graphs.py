"""Updates by CUDA graphs equal eager ones. Without a GPU: the same chunks, buffers and phases, launched eagerly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mjxrl.learners import Learner, graphs
from mjxrl.learners.batches import Draws
from mjxrl.learners.graphs import Capture, Launch, UpdateGraphs
from mjxrl.replay import Replay
from mjxrl.storage.state import State
from mjxrl.worlds.worlds import StepResult
from tests.helpers.learners import (
    ACTION,
    OBS,
    SETTINGS,
    WORLDS,
    assert_same_losses,
    both,
    filled_replay,
    learner_of,
    same,
)

F64 = torch.float64


def launched_eagerly(body: Callable[[], State]) -> tuple[Launch, State]:
    """As a capture, but the launch runs the function again and writes into the outputs that were there."""
    outputs: State = {}

    def launch() -> None:
        for name, value in body().items():
            outputs.setdefault(name, value).copy_(value)

    return launch, outputs


def graphs_of(learner: Learner, replay: Replay, updates: int) -> UpdateGraphs:
    settings = learner.config.learner
    indices = replay.draw(updates, settings.batch_size, torch.Generator().manual_seed(99))
    noise = torch.zeros(updates, learner.algorithm.noise_per_update, settings.batch_size, ACTION, dtype=F64)
    return UpdateGraphs(learner.updates.run_eagerly, replay, Draws(indices, noise), settings.policy_delay)


def capture(learner: Learner, replay: Replay, updates: int, by: Capture, made: int) -> None:
    learner.updates.graphs = graphs_of(learner, replay, updates)
    learner.updates.graphs.capture(by, made)


def fresh_numbers(learner: Learner, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    obs, reward = torch.randn(WORLDS, OBS, generator=g), torch.randn(WORLDS, generator=g)
    yes = torch.ones(WORLDS, dtype=torch.bool, device=learner.device)
    obs, reward = obs.to(learner.device, learner.dtype), reward.to(learner.device, learner.dtype)
    learner.observe(StepResult(obs, reward, ~yes, ~yes, obs))


@both
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("updates", [1, 6, 17, 32])
def test_chunks_buffers_and_phases_give_what_the_plain_loop_gives(algo, settings, updates):
    replay, plain, chunked = filled_replay(F64), *(learner_of(algo, F64, **settings) for _ in range(2))
    for learner in (plain, chunked):
        learner.update(replay, 1, torch.Generator().manual_seed(5))  # a phase in the middle of the delay
    launches, handed_out = [], []

    def counted(body: Callable[[], State]) -> tuple[Launch, State]:
        launch, outputs = launched_eagerly(body)
        return (lambda: launches.append(launch())), outputs

    capture(chunked, replay, updates, counted, made=1)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    for call in range(4):
        metrics = []
        for learner, g in zip((plain, chunked), generators, strict=True):
            fresh_numbers(learner, call)
            metrics.append(learner.update(replay, updates, g))
        assert same(*metrics)
        assert same(plain.state_dict(), chunked.state_dict())
        handed_out.append((metrics[1], {name: value.clone() for name, value in metrics[1].items()}))
    assert all(same(*pair) for pair in handed_out)  # no launch writes into what an earlier one gave
    assert len(launches) == 4 * {1: 1, 6: 1, 17: 17, 32: 2}[updates]
    chunked.load_state_dict(plain.state_dict())  # copied in: the graphs go on with it
    last = [x.update(replay, updates, g) for x, g in zip((plain, chunked), generators, strict=True)]
    assert same(*last) and same(plain.state_dict(), chunked.state_dict())


def test_another_replay_number_of_updates_or_phase_runs_eagerly():
    def broken() -> None:
        raise RuntimeError("launched")

    replay, learner = filled_replay(F64), learner_of("td3", F64, policy_delay=4)
    capture(learner, replay, 4, lambda _: (broken, {}), made=0)
    learner.update(filled_replay(F64), 4, torch.Generator())
    learner.update(replay, 3, torch.Generator())
    learner.update(replay, 4, torch.Generator())  # after 7 updates, which is not a multiple of the delay
    learner.update(replay, 1, torch.Generator())
    with pytest.raises(RuntimeError, match="launched"):
        learner.update(replay, 4, torch.Generator())


def test_a_capture_that_fails_is_told_and_leaves_the_state(monkeypatch):
    replay, learner = filled_replay(F64), learner_of("sac", F64)
    before = learner.state_dict()

    def broken(*_: Any) -> None:
        learner.algorithm.critics.flat.zero_()
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs.torch.cuda, "current_stream", lambda device: "the caller's")
    streams: list[Any] = []
    monkeypatch.setattr(graphs.torch.cuda, "set_stream", streams.append)
    monkeypatch.setattr(graphs.torch.cuda, "synchronize", broken)
    with pytest.warns(UserWarning, match="without CUDA graphs.*not permitted when stream is capturing$"):
        assert graphs.captured(graphs_of(learner, replay, 4), 0, learner.algorithm.parts()) is None
    assert same(before, learner.state_dict()) and streams == ["the caller's"]


@pytest.mark.parametrize(("updates", "delay"), [(1, 4), (2, 4), (8, 4), (3, 4), (16, 1)])
def test_a_round_before_capturing_moves_and_measures_the_policy(updates, delay):
    learner = learner_of("td3", F64, policy_delay=delay)
    before = learner.algorithm.actor.flat.clone()
    assert "actor_loss" in graphs_of(learner, filled_replay(F64), updates).run_eagerly()
    assert not torch.equal(before, learner.algorithm.actor.flat)


def test_a_cpu_captures_nothing():
    replay, learner = filled_replay(F64), learner_of("td3", F64, updates_per_step=4, graphs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.warm_up(replay)
    assert learner.updates.graphs is None


@pytest.mark.gpu
@both
@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_losses_agree_in_float32(algo, settings):
    replay = filled_replay(device="cuda")
    settings = settings | {"policy_delay": 2, "updates_per_step": 2}
    learners = [learner_of(algo, device="cuda", graphs=on, **settings) for on in (False, True)]
    learners[1].warm_up(replay)
    assert learners[1].updates.graphs is not None
    assert_same_losses(replay, learners)


@pytest.mark.gpu
@both
@pytest.mark.parametrize("settings", SETTINGS)
def test_captured_updates_equal_eager_ones(algo, settings):
    """In float64, 100 updates from the same seed: to 1e-9."""
    replay, settings = filled_replay(F64, "cuda"), {**settings, "updates_per_step": 20}
    plain, captured = (learner_of(algo, F64, device="cuda", graphs=on, **settings) for on in (False, True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured.warm_up(replay)
    assert captured.updates.graphs is not None and same(plain.state_dict(), captured.state_dict())
    generators = [torch.Generator("cuda").manual_seed(1) for _ in range(2)]
    for call in range(5):
        for learner, g in zip((plain, captured), generators, strict=True):
            fresh_numbers(learner, call)
            learner.update(replay, 20, g)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, captured.state_dict()[name], atol=1e-9, rtol=0)
