"""Compiled losses and gradients: taken whole, equal to eager ones, and done without where they can't be had."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch._dynamo.utils import counters

from tests.helpers.learners import (
    LOSS_TOLERANCE,
    SETTINGS,
    assert_same_losses,
    both,
    filled_replay,
    learner_of,
    needs_compiler,
    same,
)


@pytest.fixture(autouse=True)
def nothing_compiled_yet() -> None:
    torch.compiler.reset()  # functions are shared between learners, and compile for eight kinds at most
    counters.clear()


def assert_compiled_whole() -> None:
    assert counters["stats"]["unique_graphs"] == 2, "one program for the critics, one for the policy"
    assert not counters["graph_break"]


@needs_compiler
def test_compiled_losses_agree_in_float32() -> None:
    replay = filled_replay()
    learners = [learner_of("sac", updates_per_step=2, compile=on, policy_delay=2) for on in (False, True)]
    before = learners[1].state_dict()
    learners[1].warm_up(replay)
    assert same(before, learners[1].state_dict())
    assert_compiled_whole()
    learners[1].warm_up(replay)  # as where `Trainer.run` is called again
    assert_same_losses(replay, learners)
    assert_compiled_whole()  # and nothing again


@needs_compiler
def test_a_compiled_learner_is_not_another_ones() -> None:
    """Settings are part of the program: of gamma .5, it is no good to a learner of gamma .99."""
    replay = filled_replay()
    first, second, eager = (
        learner_of("td3", compile=on, gamma=gamma) for on, gamma in ((1, 0.5), (1, 0.99), (0, 0.99))
    )
    first.warm_up(replay)
    second.warm_up(replay)
    assert_same_losses(replay, [eager, second])


def test_without_a_compiler_updates_run_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing is there yet
    plain, learner = (learner_of("td3", torch.float64, updates_per_step=4, compile=on) for on in (False, True))
    replay = filled_replay(torch.float64)
    no_compiler = torch._inductor.config.patch({"cpp.cxx": (None, str(tmp_path / "g++"))})
    said = pytest.warns(UserWarning, match=r"uncompiled, more slowly, .*: No working C\+\+ compiler.*\)$")
    with no_compiler, said:
        learner.warm_up(replay)
    for each in (plain, learner):
        each.update(replay, 4, torch.Generator().manual_seed(0))
    assert same(plain.state_dict(), learner.state_dict())


def test_uncompiled_learners_need_no_warm_up_on_a_cpu() -> None:
    learner, replay = learner_of("td3", torch.float64, updates_per_step=4), filled_replay(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.warm_up(replay)
    assert not counters["stats"]


@needs_compiler
@pytest.mark.slow
@both
@pytest.mark.parametrize("settings", SETTINGS)
def test_compiled_updates_equal_eager_ones(algo: str, settings: dict[str, Any]) -> None:
    """In float64, 100 updates from the same seed: to 1e-6."""
    replay = filled_replay(torch.float64)
    plain, compiled = (
        learner_of(algo, torch.float64, updates_per_step=10, compile=on, **settings) for on in (False, True)
    )
    compiled.warm_up(replay)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    for _ in range(10):
        for learner, g in zip((plain, compiled), generators, strict=True):
            learner.update(replay, 10, g)
    assert_compiled_whole()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, compiled.state_dict()[name], atol=1e-6, rtol=0)


@needs_compiler
@pytest.mark.slow
@both
@pytest.mark.parametrize("settings", [{"bf16": True, "policy_delay": 2}, {"critic_norm": "layer", "policy_delay": 2}])
def test_compiled_losses_agree_with_each_option(algo: str, settings: dict[str, Any]) -> None:
    learners = [learner_of(algo, updates_per_step=2, compile=on, **settings) for on in (False, True)]
    rtol = 0.02 if "bf16" in settings else LOSS_TOLERANCE  # bf16 keeps 8 bits, and fused operators round less often
    replay = filled_replay()
    learners[1].warm_up(replay)
    assert_same_losses(replay, learners, rtol)
    assert_compiled_whole()
