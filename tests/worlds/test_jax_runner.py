"""No copies between torch and jax, and nobody's buffer is reused under the other's feet."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mjxrl.worlds.jax_runner import JaxRunner
from mjxrl.worlds.program import EnvState
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult

CPU = torch.device("cpu")


def test_both_ways_share_memory() -> None:
    import jax.numpy as jnp

    runner = JaxRunner(CPU)
    array = jnp.arange(12.0).reshape(3, 4) * 2
    assert runner.to_torch(array).data_ptr() == array.unsafe_buffer_pointer()
    tensor = torch.rand(3, 4)
    assert runner.from_torch(tensor).unsafe_buffer_pointer() == tensor.data_ptr()


def test_results_of_a_step_are_views_of_what_jax_computed(cheetah_jax: VectorEnv) -> None:
    cheetah_jax.reset()
    result = cheetah_jax.step(torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size))
    held = cheetah_jax._runner._held  # type: ignore[attr-defined]
    for ours, theirs in zip(result[:6], held[:6], strict=True):
        assert ours.data_ptr() == theirs.unsafe_buffer_pointer()


def test_actions_alternate_between_two_buffers_and_are_read_in_place() -> None:
    runner, seen = JaxRunner(CPU), []

    def program(state: EnvState, action) -> tuple[EnvState, StepResult]:
        seen.append(action.unsafe_buffer_pointer())
        return state, StepResult(*[action] * 6, reward_terms={})

    runner.state = EnvState(None, None, None, None)  # type: ignore[arg-type]
    for value in range(4):
        action = torch.full((2, 3), float(value))
        runner.dispatch(program, action)
        action.fill_(-1)  # the caller may reuse its own tensor at once
        assert (runner.collect().obs == value).all()
    assert seen[0] == seen[2] != seen[1] == seen[3]


def test_a_step_on_the_worker_thread_leaves_the_caller_free() -> None:
    """As on a GPU, where starting a step takes as long as the step."""
    runner, may_end = JaxRunner(CPU), threading.Event()
    runner._worker = ThreadPoolExecutor(1)  # pyright: ignore[reportPrivateUsage]

    def program(state: int, action) -> tuple[int, StepResult]:
        assert may_end.wait(60)
        return state + 1, StepResult(*[action] * 6, reward_terms={})

    runner.state = 0  # type: ignore[assignment]
    runner.dispatch(program, torch.ones(2, 3))  # type: ignore[arg-type]
    assert runner.state == 0
    may_end.set()
    assert (runner.collect().obs == 1).all() and runner.state == 1
    with pytest.raises(RuntimeError, match="no step was dispatched"):
        runner.collect()


@pytest.mark.parametrize("on_a_worker", [False, True])
def test_a_step_that_fails_says_so_and_leaves_nothing_under_way(on_a_worker: bool) -> None:
    runner = JaxRunner(CPU)
    runner._worker = ThreadPoolExecutor(1) if on_a_worker else None  # pyright: ignore[reportPrivateUsage]
    runner.state = 0  # type: ignore[assignment]

    def broken(state: int, action) -> tuple[int, StepResult]:
        raise FloatingPointError("no such luck")

    def step() -> None:
        runner.dispatch(broken, torch.ones(2, 3))  # type: ignore[arg-type]
        runner.collect()

    with pytest.raises(FloatingPointError):
        step()
    assert not runner.busy
    with pytest.raises(RuntimeError, match="no step was dispatched"):
        runner.collect()


def test_nobody_touches_the_worlds_while_a_step_is_under_way(cheetah_jax: VectorEnv, cheetah_native: VectorEnv) -> None:
    for env in (cheetah_jax, cheetah_native):
        env.reset()
        action = torch.zeros(env.num_envs, env.action_size)
        env.dispatch(action)
        with pytest.raises(RuntimeError, match="a step is under way: collect it first"):
            env.dispatch(action)
        with pytest.raises(RuntimeError, match="a step is under way: collect it first"):
            env.reset()
        env.collect()
        env.reset()


def test_results_stay_as_they_were_while_the_worlds_go_on(cheetah_jax: VectorEnv) -> None:
    """Donated state must not share memory with what torch was given."""
    cheetah_jax.reset(seed=0)
    action = torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size)
    results = [cheetah_jax.step(action) for _ in range(4)]
    copies = [result.obs.clone() for result in results]
    for _ in range(4):
        cheetah_jax.step(action)
    assert all(torch.equal(result.obs, copy) for result, copy in zip(results, copies, strict=True))


def test_one_program_compiled_once(cheetah_jax: VectorEnv) -> None:
    cheetah_jax.reset()
    cheetah_jax.step(torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size))
    size = cheetah_jax._step._cache_size()  # type: ignore[attr-defined]
    for i in range(5):
        cheetah_jax.step(torch.full((cheetah_jax.num_envs, cheetah_jax.action_size), i / 5))
    cheetah_jax.reset(seed=4)
    cheetah_jax.step(torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size))
    assert cheetah_jax._step._cache_size() == size == 1  # type: ignore[attr-defined]
