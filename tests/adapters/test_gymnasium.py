"""Gymnasium's environments as worlds: nothing lost at an episode's end in any autoreset mode, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from mjxrl.adapters.gymnasium import GymnasiumWorlds, make, sizes
from mjxrl.errors import TaskError
from mjxrl.training.stopping import Stop
from mjxrl.worlds.worlds import CountsOverflows, Resumable, StepResult
from tests.helpers import gym_envs
from tests.helpers.gym_envs import Counting
from tests.helpers.processes import gone, state_of


def steps_of(worlds: GymnasiumWorlds, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, StepResult]]:
    """(obs, action, result) of a random policy."""
    g = torch.Generator().manual_seed(0)
    obs = worlds.reset()
    for _ in range(steps):
        action = torch.rand(worlds.num_envs, worlds.action_size, generator=g) * 2 - 1
        result = worlds.step(action)
        yield obs, action, result
        obs = result.obs


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_every_transition_is_the_environments_own(mode: AutoresetMode, kind: type) -> None:
    """An episode, a step and the action are written into each observation, so it says where it comes from."""
    worlds = GymnasiumWorlds(kind([Counting] * 3, autoreset_mode=mode))
    assert (worlds.num_envs, worlds.obs_size, worlds.action_size, worlds.max_episode_steps) == (3, 4, 2, None)
    waits = mode is AutoresetMode.NEXT_STEP
    seen: list[list[tuple[int, int]]] = [[], [], []]
    for obs, action, result in steps_of(worlds, 40):
        for world in range(3):
            episode, step = (int(x) for x in obs[world, :2])
            if not result.valid[world]:
                assert waits and not result.done[world] and result.obs[world].tolist() == [episode + 1, 0, 0, 0]
                continue
            seen[world].append((episode, step))
            ended = step + 1 == 2 + episode % 3
            control = [1 + action[world, 0].item(), 1 + 4 * action[world, 1].item()]
            assert result.final_obs[world].tolist() == pytest.approx([episode, step + 1, *control], abs=1e-6)
            assert result.reward[world] == 10 * episode + step + 1
            assert result.terminated[world] == (ended and episode % 2 == 0)
            assert result.truncated[world] == (ended and episode % 2 == 1)
            follows = [episode + 1, 0, 0, 0] if ended and not waits else result.final_obs[world].tolist()
            assert result.obs[world].tolist() == follows
        assert not result.diverged.any() and result.obs.dtype == torch.float32
    every = [(episode, step) for episode in range(20) for step in range(2 + episode % 3)]
    for world in seen:  # none is left out, none comes twice
        assert world == every[: len(world)] and len(world) == (30 if waits else 40)
    worlds.close()


def test_results_stay_as_they_were_while_the_worlds_go_on() -> None:
    """A vector environment may write each step into the same arrays."""
    envs = SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * 2, copy=False, autoreset_mode=AutoresetMode.DISABLED)
    worlds = GymnasiumWorlds(envs)
    kept = [(result[:6], [x.clone() for x in result[:6]]) for *_, result in steps_of(worlds, 6)]
    assert all(torch.equal(a, b) for now, then in kept for a, b in zip(now, then, strict=True))


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_staggered_worlds_are_truncated_in_turn(vector: str) -> None:
    """Pendulum's episodes have 200 steps; the first ones of four worlds have 50, 100, 150 and 200."""
    worlds = make("Pendulum-v1", 4, vector=vector, stagger=True)
    ends = [
        (i, result.truncated.nonzero().flatten().tolist()) for i, (*_, result) in enumerate(steps_of(worlds, 400), 1)
    ]
    worlds.close()
    assert [end for end in ends if end[1]] == [(50 * i, [(i - 1) % 4]) for i in range(1, 9)]


def test_without_a_time_limit_nothing_is_staggered() -> None:
    worlds = make("tests.helpers.gym_envs:Counting-v0", 3, vector="sync", stagger=True)
    plain = make("tests.helpers.gym_envs:Counting-v0", 3, vector="sync")
    for (*_, result), (*_, expected) in zip(steps_of(worlds, 20), steps_of(plain, 20), strict=True):
        torch.testing.assert_close(result[:6], expected[:6], rtol=0, atol=0)


def test_seeds_decide_the_episodes() -> None:
    def first(seed: int) -> torch.Tensor:
        worlds = make("Pendulum-v1", 3, vector="sync", seed=seed)
        return torch.stack([worlds.reset(), worlds.reset(), worlds.reset(seed=9)])

    one, again, other = first(1), first(1), first(2)
    assert torch.equal(one, again) and torch.equal(one[2], other[2])
    assert len(torch.cat([*one, *other[:2]]).unique(dim=0)) == 5 * 3  # no world of one seed is a world of another


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Image-v0", "its observations are images .* allowed: a Box of one axis"),
        ("Dictionary-v0", "its observations are of Dict .*position.*allowed: a Box of one axis"),
        ("Discrete-v0", r"its actions are Discrete\(4\): allowed: a Box of one axis with finite bounds"),
        ("Unbounded-v0", r"its actions are Box\(-inf, inf, .*allowed: a Box of one axis with finite bounds"),
        ("Nothing-v0", "Environment `Nothing` doesn't exist"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name: str, said: str) -> None:
    with pytest.raises(TaskError, match=said) as refused:
        make(f"{gym_envs.__name__}:{name}", 2)
    assert len(str(refused.value).splitlines()) == 1


def test_what_a_run_may_ask_of_them() -> None:
    obs_size, low, high = sizes(f"{gym_envs.__name__}:Counting-v0")
    assert (obs_size, low.tolist(), high.tolist()) == (4, [0, -3], [2, 5])
    worlds = make("Pendulum-v1", 1, vector="sync")
    assert not isinstance(worlds, Resumable) and not isinstance(worlds, CountsOverflows)
    with pytest.raises(RuntimeError, match="no step was dispatched"):
        worlds.collect()
    worlds.reset()
    worlds.dispatch(torch.zeros(1, 1))
    with pytest.raises(RuntimeError, match="a step is under way"):
        worlds.dispatch(torch.zeros(1, 1))
    worlds.close()


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("raises", ZeroDivisionError, "a bug of the environment"),
        ("killed", TaskError, "a process that steps an environment has died"),
        ("nan", TaskError, "an observation or a reward that is not finite"),
    ],
)
def test_no_process_is_left_after_a_failure(how: str, error: type[Exception], said: str) -> None:
    with Stop().on_signals():  # as in a run, where SIGTERM does not end a process that was forked from it
        worlds = make(f"{gym_envs.__name__}:Broken-{how}-v0", 3)
        pids = [process.pid for process in worlds._envs.processes]  # type: ignore[attr-defined]
        with pytest.raises(error, match=said):
            list(steps_of(worlds, 3))
        worlds.close()
    assert len(pids) == 3 and gone(pids)


SCRIPT = """
import torch
from mjxrl.adapters.gymnasium import make
from mjxrl.training.stopping import Stop

worlds, stop = make("Pendulum-v1", 2), Stop()
worlds.reset()
with stop.on_signals():
    print(*[process.pid for process in worlds._envs.processes], flush=True)
    while not stop:
        worlds.step(torch.zeros(2, 1))
    worlds.step(torch.zeros(2, 1))  # they go on until they are closed
    worlds.close()
    print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_after_ctrl_c_or_a_crash(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(state_of(pid) != "Z" for pid in pids)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to all of them
        assert process.communicate(timeout=60)[0] == "closed\n"
    else:
        process.kill()
    assert gone(pids)
    process.wait()


def test_the_adapter_adds_and_loses_nothing() -> None:
    """The same episode by itself and through the worlds."""
    worlds, one = make("Pendulum-v1", 1, vector="sync", seed=4), gymnasium.make("Pendulum-v1")
    [seed] = np.random.SeedSequence(4).generate_state(1).tolist()
    obs, _ = one.reset(seed=seed)
    assert worlds.reset()[0].tolist() == obs.tolist()
    for step in range(200):
        action = torch.tensor([[float(np.sin(step))]])
        result = worlds.step(action)
        obs, reward, _, truncated, _ = one.step(2 * action[0].numpy())
        assert result.final_obs[0].tolist() == obs.tolist()
        assert result.reward[0] == np.float32(reward) and result.truncated[0] == truncated
