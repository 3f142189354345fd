"""What only a GPU can show: no copies, no host sync in the loop, and the same numbers as on the CPU.

Run by themselves with `make test-gpu`, where jax and torch share the GPU.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mjxrl.config import PhysicsConfig
from mjxrl.config.presets import default_config, merged
from mjxrl.config.schema import Algorithm
from mjxrl.envs import task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.learners import make_learner
from mjxrl.replay import Replay
from mjxrl.storage import checkpoint
from mjxrl.worlds.jax_runner import JaxRunner
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult
from tests.helpers.histories import content, saved
from tests.helpers.small_runs import rows_of, small, train

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
RESUMED = 1e-3  # how far the weights of a resumed run may be from those of one that went through


def test_both_ways_share_memory() -> None:
    import jax.numpy as jnp

    runner = JaxRunner(CUDA)
    array = jnp.arange(12.0).reshape(3, 4) * 2
    view = runner.to_torch(array)
    assert view.is_cuda and view.data_ptr() == array.unsafe_buffer_pointer()
    tensor = torch.rand(3, 4, device=CUDA)
    assert runner.from_torch(tensor).unsafe_buffer_pointer() == tensor.data_ptr()


@pytest.mark.parametrize("backend", ["jax", "warp"])
def test_worlds_equal_those_on_native(backend: str) -> None:
    """One step from the same states under the same controls: float32 against float64."""
    worlds = 64
    ours = VectorEnv(HalfCheetah(), worlds, backend=backend, device=CUDA)
    native = VectorEnv(HalfCheetah(), worlds, backend="native", device=CUDA)
    native.reset(seed=0)
    qpos, qvel = (torch.as_tensor(x) for x in (native.state.view.qpos, native.state.view.qvel))
    action = torch.rand(worlds, 6, device=CUDA) * 2 - 1
    for env in (ours, native):
        env.set_state(qpos.float(), qvel.float())
    a, b = ours.step(action), native.step(action)
    assert a.obs.is_cuda and b.obs.is_cuda
    assert (a.final_obs - b.final_obs).abs().amax(1).median() < 1e-3
    assert (a.reward - b.reward).abs().median() < 1e-4


def test_native_worlds_give_the_numbers_that_they_give_on_the_cpu_and_wait_for_nothing() -> None:
    here, there = (VectorEnv(HalfCheetah(), 64, backend="native", device=torch.device(d)) for d in ("cpu", "cuda"))
    for env in (here, there):
        env.reset()
        env.step(torch.zeros(64, 6, device=env.device))  # makes the buffers
    seen = []
    for _ in range(20):
        action = torch.rand(64, 6, device=CUDA) * 2 - 1
        given = action.clone()
        torch.cuda.set_sync_debug_mode("error")
        try:
            there.dispatch(given)
            given.fill_(9)
            result = there.collect()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        seen.append((here.step(action.cpu()), result))
    for one, other in seen:  # earlier ones keep their values
        for name in ("obs", "reward", "truncated", "final_obs", "valid", "fault"):
            assert torch.equal(getattr(one, name), getattr(other, name).cpu())


def test_captured_steps_on_warp_are_the_eager_ones_and_wait_for_nothing() -> None:
    """Five graphs beside the same programs launched one by one, sums in a fixed order in both."""
    task, config = task_class("Ant-v5")(max_episode_steps=50), PhysicsConfig(deterministic=True)
    pair = [VectorEnv(task, 256, backend="warp", device=CUDA, stagger=True, physics=config) for _ in range(2)]
    pair[0]._runner.new_part = None  # type: ignore[attr-defined]
    first = [env.reset() for env in pair]
    assert torch.equal(*first)
    random, ended = torch.Generator(CUDA).manual_seed(0), 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="worlds step without CUDA graphs")
        for step in range(200):
            action = torch.rand(256, 8, device=CUDA, generator=random) * 2 - 1
            eager = pair[0].step(action)
            if step == 2:  # warm by now
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error")
            try:
                captured = pair[1].step(action)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            different = [name for name, a, b in zip(eager._fields, eager[:6], captured[:6]) if not torch.equal(a, b)]  # noqa: B905
            assert not different, (step, different)
            ended += int(eager.done.sum())
    assert ended > 500 and pair[1]._runner._recorded.parts == 5  # type: ignore[attr-defined]


def test_an_update_waits_for_nothing() -> None:
    """Replay, losses, optimizers and targets, under a mode in which any host sync is an error."""
    config = merged(default_config("HalfCheetah-v5", "sac", num_envs=64), {"learner": {"batch_size": 256, "n_step": 3}})
    learner = make_learner(config, 17, 6, CUDA)
    replay = Replay(64, 17, 6, capacity=6400, time_limit=1000, device=CUDA)
    generator = torch.Generator(CUDA).manual_seed(0)
    obs = torch.randn(64, 17, device=CUDA)
    flags = torch.zeros(64, dtype=torch.bool, device=CUDA)
    replay.start(obs)

    def iteration() -> None:
        action = learner.act(obs, generator)
        result = StepResult(obs, obs[:, 0], flags, flags, obs)
        replay.append(action, result)
        learner.observe(result)
        learner.update(replay, 4, generator)

    for _ in range(3):  # allocations and lazily made constants
        iteration()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        iteration()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize(
    "settings", [{"bf16": True}, {"compile": True}, {"bf16": True, "compile": True, "graphs": True}]
)
def test_updates_in_bf16_compiled_and_captured(algo: Algorithm, settings: dict[str, bool]) -> None:
    """As preset fast-2025 has them; the plain float32 losses are the yardstick."""
    losses = []
    for changes in ({}, settings):
        changes = {"updates_per_step": 4, "batch_size": 256, "warmup_steps": 0, **changes, "policy_delay": 2}
        config = merged(default_config("Ant-v5", algo, 64, preset="fast-2025"), {"learner": {"bf16": False} | changes})
        learner = make_learner(config, 105, 8, CUDA)
        for network in learner.algorithm.networks.values():
            # new critics say nearly nothing, whatever the target
            network.load_state_dict({name: 3 * value for name, value in network.state_dict().items()})
        replay = Replay(64, 105, 8, capacity=6400, time_limit=1000, device=CUDA)
        g = torch.Generator(CUDA).manual_seed(0)
        flags = torch.zeros(64, dtype=torch.bool, device=CUDA)
        replay.start(torch.randn(64, 105, device=CUDA, generator=g))
        for _ in range(20):
            obs, action = torch.randn(64, 105, device=CUDA, generator=g), torch.rand(64, 8, device=CUDA, generator=g)
            result = StepResult(obs, obs[:, 0], flags, flags, obs)
            replay.append(action, result)
            learner.observe(result)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="updates run")  # uncompiled, or without CUDA graphs
            learner.warm_up(replay)
        metrics = [learner.update(replay, 4, g) for _ in range(3)]
        names = ("critic_loss", "actor_loss", "target_q", "td_error")
        losses.append([row[name].item() for row in metrics for name in names])
    assert losses[0] == pytest.approx(losses[1], rel=0.05, abs=0.02)


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize("backend", ["jax", "warp", "native"])
def test_a_run_trains_saves_and_resumes(algo: str, backend: str, tmp_path: Path) -> None:
    import dataclasses

    whole = train(small(algo, backend=backend, device="cuda", run_dir=tmp_path / "whole"))
    parts = train(small(algo, backend=backend, device="cuda", run_dir=tmp_path / "parts", total_steps=344))
    config = small(algo, backend=backend, device="cuda", run_dir=tmp_path / "parts")
    train(dataclasses.replace(config, resume=parts))
    first, second = (checkpoint.load(path, "latest", "learner", {}) for path in (whole, parts))
    assert first["updates"] == second["updates"]
    assert [row["step"] for row in rows_of(whole)] == [row["step"] for row in rows_of(parts)]
    for name, value in first.items():
        assert value.isfinite().all(), name
        if name.startswith(("actor.", "critics.")):  # sums on a GPU have no fixed order
            torch.testing.assert_close(value, second[name], rtol=0, atol=RESUMED)


def test_replay_takes_what_it_says() -> None:
    task = task_class("Ant-v5")()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    replay = Replay(1024, 105, 8, capacity=1024 * 100, time_limit=task.max_episode_steps, device=CUDA)
    assert torch.cuda.memory_allocated() - before == pytest.approx(replay.nbytes, rel=0.01)


def test_a_snapshot_is_of_its_moment_while_the_ring_is_overwritten() -> None:
    """The reader copies on a stream of its own while appends are queued far ahead of the device."""
    worlds, width = 512, 64
    replay = Replay(worlds, width, 4, capacity=worlds * 200, time_limit=50, device=CUDA)
    no = torch.zeros(worlds, dtype=torch.bool, device=CUDA)

    def append(first: int, last: int) -> None:
        for t in range(first, last):
            obs = torch.full((worlds, width), float(t), device=CUDA)
            ended = no | (t % 50 == 49)
            replay.append(obs[:, :4] / 1000, StepResult(obs + 1, obs[:, 0], no, ended, obs + 0.5))

    replay.start(torch.zeros(worlds, width, device=CUDA))
    append(0, 300)
    expected, snapshot = saved(replay), replay.snapshot()
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(content, snapshot)
        append(300, 500)
        found = reading.result()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    fresh = Replay(worlds, width, 4, capacity=worlds * 200, time_limit=50, device=CUDA)
    fresh.load_state_dict(found)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in saved(fresh).items())
