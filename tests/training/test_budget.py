"""A run that cannot fit is refused before it starts, with the largest replay that would fit."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl.config import Config
from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.errors import MemoryProblem, UnavailableError
from mjxrl.machine import devices, settings
from mjxrl.replay import Replay
from mjxrl.training import budget
from mjxrl.training.budget import GIB, Need
from mjxrl.training.launch import train as launch
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.vector_env import VectorEnv
from tests.conftest import need_warp
from tests.helpers.small_runs import small


def a_config(env: str = "HalfCheetah-v5", **changes: Any) -> Config:
    config = default_config(env, "sac", num_envs=64, device="cpu", preset="paper")
    return merged(merged(config, {"task": task_class(env)()}), changes)


def free(monkeypatch: pytest.MonkeyPatch, **places: float) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda place: places[place])


def test_the_replay_is_counted_exactly() -> None:
    config = a_config(replay={"capacity": 5000})
    replay = Replay(64, 17, 6, capacity=5000, time_limit=1000, device="cpu")
    assert budget.replay_size(config, 5000) == replay.nbytes


def test_a_run_that_fits_is_not_refused_and_jax_keeps_its_way_on_a_cpu() -> None:
    assert budget.check(a_config(), "native", "cpu").jax_share is None


@pytest.mark.parametrize("saved", [True, False])
def test_the_largest_replay_that_fits_is_named_and_does_fit(saved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, cpu=4 * GIB)
    config = a_config(replay={"capacity": 100_000_000}, checkpoint={"replay": saved})
    with pytest.raises(MemoryProblem) as error:
        budget.check(config, "native", "cpu")
    message = str(error.value)
    assert "\n" not in message and message.startswith("--replay.capacity 100000000: allowed: at most ")
    assert "4.00 GiB are free on this machine" in message and "replay" in message and "learner" in message
    most = named_in(error.value)
    budget.check(merged(config, {"replay": {"capacity": most}}), "native", "cpu")
    with pytest.raises(MemoryProblem):
        budget.check(merged(config, {"replay": {"capacity": most + 64}}), "native", "cpu")
    copies = 1.1 if saved else 1
    assert copies * budget.replay_size(config, most) < 3.5 * GIB < (copies + 0.2) * budget.replay_size(config, most)


def test_where_no_replay_fits_fewer_worlds_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, cpu=GIB)
    with pytest.raises(MemoryProblem, match=r"^--num-envs 2000000: allowed: fewer, with a smaller --replay\.capacity"):
        budget.check(a_config(num_envs=2_000_000), "native", "cpu")


def test_on_a_gpu_both_places_count_and_jax_gets_what_the_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "gpu_bytes", lambda: 80 * GIB)
    config = a_config("Humanoid-v5", num_envs=4096, replay={"capacity": 4_194_304})
    free(monkeypatch, cpu=64 * GIB, cuda=79 * GIB)
    share = budget.check(config, "jax", "cuda").jax_share
    need = budget.estimate(config, "jax", "cuda")["cuda"]
    wanted = budget.total(config, need)
    assert (
        share is not None and need.parts["physics"] / GIB / 80 < share < 1 - (wanted - need.parts["physics"]) / GIB / 80
    )
    assert budget.check(config, "native", "cuda").jax_share is None  # nothing of jax there
    free(monkeypatch, cpu=64 * GIB, cuda=6 * GIB)
    with pytest.raises(MemoryProblem, match=r"--replay.capacity .* 6.00 GiB are free on the GPU"):
        budget.check(config, "jax", "cuda")
    free(monkeypatch, cpu=GIB, cuda=79 * GIB)  # checkpoints pass through the RAM bit by bit
    budget.check(config, "jax", "cuda")
    saving = budget.estimate(config, "jax", "cuda")["cuda"].replays
    assert (
        saving == 1.1
        and budget.estimate(merged(config, {"checkpoint": {"replay": False}}), "jax", "cuda")["cuda"].replays == 1
    )


def test_the_compiled_step_counts_in_place_of_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, cpu=4 * GIB)
    config = a_config(replay={"capacity": 6_000_000})
    room = budget.check(config, "jax", "cpu")
    free(monkeypatch, cpu=0.0)  # by now the run itself has taken it
    for program in (None, GIB):
        budget.check_program(config, "jax", "cpu", room, program)
    with pytest.raises(
        MemoryProblem, match=r"^--replay.capacity 6000000: allowed: at most .* physics 3\.00\)"
    ) as error:
        budget.check_program(config, "jax", "cpu", room, 3 * GIB)
    assert "4.00 GiB are free on this machine" in str(error.value)
    most = named_in(error.value)
    budget.check_program(merged(config, {"replay": {"capacity": most}}), "jax", "cpu", room, 3 * GIB)
    with pytest.raises(MemoryProblem):
        budget.check_program(merged(config, {"replay": {"capacity": most + 64}}), "jax", "cpu", room, 3 * GIB)
    with pytest.raises(MemoryProblem, match=r"^--num-envs 64: allowed: fewer"):
        budget.check_program(config, "jax", "cpu", room, 4 * GIB)


def test_on_a_gpu_the_compiled_step_must_fit_into_jaxs_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay that is named leaves jax so much that the step fits in the next try."""
    monkeypatch.setattr(budget, "gpu_bytes", lambda: 80 * GIB)
    free(monkeypatch, cpu=640 * GIB, cuda=79 * GIB)
    config = a_config("Humanoid-v5", num_envs=4096, replay={"capacity": 20_000_000})
    room = budget.check(config, "jax", "cuda")
    assert room.jax_share is not None
    share = room.jax_share * 80 * GIB
    monkeypatch.setattr(budget, "jax_bytes", lambda: share)
    budget.check_program(config, "jax", "cuda", room, int(share))
    program = int(1.2 * share)
    with pytest.raises(MemoryProblem, match=r"^--replay.capacity .*: the step program takes .* jax's share") as error:
        budget.check_program(config, "jax", "cuda", room, program)
    most = named_in(error.value)
    assert most < config.replay.capacity
    for capacity, fits in ((most, True), (most + 2 * 4096, False)):
        again = budget.check(merged(config, {"replay": {"capacity": capacity}}), "jax", "cuda").jax_share
        assert again is not None and (again * 80 * GIB >= program) == fits
    monkeypatch.setattr(budget, "jax_bytes", lambda: 0.1 * GIB)  # a share of the user's own: no replay changes it
    with pytest.raises(MemoryProblem, match=r"^--num-envs 4096: allowed: fewer"):
        budget.check_program(config, "jax", "cuda", room, GIB)


def named_in(error: Exception) -> int:
    """The replay that a refusal allows."""
    found = re.search(r"at most (\d+) here", str(error))
    assert found is not None
    return int(found[1])


def test_the_estimate_of_the_learner_is_no_less_than_its_tensors() -> None:
    from mjxrl.learners import make_learner

    config = a_config(learner={"critic_hidden": (512, 512), "batch_size": 1024})
    state = make_learner(config, 17, 6, "cpu").state_dict()
    kept = sum(tensor.nbytes for tensor in state.values())
    assert kept < budget.learner_bytes(config) < 20 * kept


def test_a_categorical_critic_takes_room_for_its_atoms() -> None:
    def needed(critic: str) -> float:
        return budget.learner_bytes(a_config(learner={"critic": critic, "atoms": 251, "batch_size": 32_768}))

    outputs = 2 * 32_768 * 251 * 4  # of two critics, once
    assert needed("categorical") - needed("scalar") > 2 * outputs


@pytest.mark.parametrize(("env", "measured"), [("HalfCheetah-v5", 21_000), ("Ant-v5", 13_800), ("Humanoid-v5", 27_400)])
def test_the_estimate_of_mjx_is_above_what_was_measured_and_of_its_order(env: str, measured: int) -> None:
    """Bytes per world: of HalfCheetah by XLA's own analysis of the step, of the others the state alone."""
    per_world = budget.physics_bytes(a_config(env), "jax", "cpu") / 64
    assert measured < per_world < 20 * measured


def test_warps_arrays_are_counted_exactly() -> None:
    need_warp()
    from mjxrl.physics.warp import WarpPhysics

    config = a_config("HalfCheetah-v5")
    exact = WarpPhysics(config.task, config.num_envs, config.physics, "cpu").nbytes
    assert budget.estimate(config, "warp", "cpu")["cpu"].parts["physics"] == exact > 64 * 10_000


def test_a_refused_run_leaves_nothing_behind_and_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemoryProblem):
        launch(small("td3", run_dir=tmp_path / "run", replay={"capacity": 10**12}))
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_turns_out_too_large_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_class("Pendulum-v1")()
    config = small("td3", env="Pendulum-v1", task=task, backend="jax", run_dir=tmp_path / "run")
    monkeypatch.setattr(budget, "physics_bytes", lambda *_: 0.0)
    enough = budget.total(config, budget.estimate(config, "jax", "cpu")["cpu"])
    free(monkeypatch, cpu=enough)  # for everything but the step
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("it started"))
    with pytest.raises(MemoryProblem, match=r"^--replay\.capacity 400: allowed: at most "):
        launch(config)
    assert list(tmp_path.iterdir()) == []


def test_asking_what_the_step_takes_compiles_it_once_and_changes_nothing() -> None:
    import jax

    asked, other = (VectorEnv(task_class("Pendulum-v1")(), 5, backend="jax", device=torch.device("cpu")) for _ in "ab")
    state_and_more = 5 * (1 + 1 + 3) * 4  # qpos, qvel and the observation
    size = asked.program_bytes()
    assert size is not None and state_and_more < size < 100 * state_and_more
    assert torch.equal(asked.reset(), other.reset())
    events: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        first = asked.step(torch.zeros(5, 1))
        assert not [event for event in events if "compile" in event or "trace" in event]
        assert torch.equal(first.obs, other.step(torch.zeros(5, 1)).obs)
        assert [event for event in events if "backend_compile" in event]  # so it would have been seen
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert VectorEnv(HalfCheetah(), 2, backend="native", device=torch.device("cpu")).program_bytes() is None


def test_what_cannot_be_known_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    env = VectorEnv(task_class("Pendulum-v1")(), 5, backend="jax", device=torch.device("cpu"))

    def raising(_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED")

    for analysis in (lambda _: None, raising):
        monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", analysis)
        assert env.program_bytes() is None
    assert budget.jax_bytes() == math.inf  # on a CPU


def test_worlds_that_are_put_back_run_the_program_that_was_looked_at(cheetah_jax: VectorEnv) -> None:
    cheetah_jax.reset()
    action = torch.zeros(cheetah_jax.num_envs, cheetah_jax.action_size)
    cheetah_jax.step(action)
    cheetah_jax.load_state_dict(cheetah_jax.state_dict())
    cheetah_jax.program_bytes()
    cheetah_jax.step(action)
    assert cheetah_jax._step._cache_size() == 1  # type: ignore[attr-defined]


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    group = tmp_path / "outer" / "inner"
    group.mkdir(parents=True)
    for folder, limit in ((group, "max"), (group.parent, "1000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("700\n")
        (folder / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert list(budget._group_limits(tmp_path, ["outer/inner"])) == [1000 - 700 + 150]
    assert 0 < budget.free_bytes("cpu") < 2**50


def test_torch_without_the_gpu_that_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"torch .* sees no GPU while the driver does: pip install"):
        devices.confirm_torch_sees_cuda()


def test_jax_without_the_gpu_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(kind: str) -> list[Any]:
        raise RuntimeError(f"unknown backend {kind}")

    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(devices=none, __version__="0.10"))
    with pytest.raises(UnavailableError, match=r"jax 0.10 sees no GPU while torch does: pip install 'mjxrl\[cuda\]'"):
        devices.confirm_jax_sees_cuda("jax")


def test_set_up_may_be_told_the_share_later_but_a_users_own_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_CLIENT_MEM_FRACTION")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setattr(settings, "_set_here", {})
    for name in ("JAX_DEFAULT_MATMUL_PRECISION", "JAX_PLATFORMS", *names):
        monkeypatch.setenv(name, "before")
    for name in names:
        monkeypatch.delenv(name)
    settings.set_up("cuda", "jax")
    assert os.environ[names[0]] == "false" and names[1] not in os.environ
    settings.set_up("cuda", "jax", jax_memory_fraction=0.25)
    assert [os.environ[name] for name in names] == ["true", "0.250"]
    monkeypatch.setattr(settings, "_set_here", {})
    monkeypatch.setenv(names[1], "0.5")
    settings.set_up("cuda", "jax", jax_memory_fraction=0.25)
    assert os.environ[names[1]] == "0.5"
    for name in names:
        monkeypatch.delenv(name)


def test_need_is_what_it_says() -> None:
    config = a_config(replay={"capacity": 6400})
    assert budget.total(config, Need({"a": 5.0, "b": 6.0}, 2)) == 11 + 2 * budget.replay_size(config, 6400)


def test_each_of_several_processes_counts_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the worlds and of the replay against its part of the RAM; what would fit is told of the whole run."""
    config = merged(default_config("HalfCheetah-v5", "td3", num_envs=64), {"replay": {"capacity": 64_000}})
    config = dataclasses.replace(config, task=HalfCheetah())
    whole, room = budget.replay_size(config, 64_000), budget.free_bytes("cpu")
    for name, value in {
        "RANK": 1,
        "WORLD_SIZE": 4,
        "LOCAL_WORLD_SIZE": 4,
        "MASTER_ADDR": "x",
        "MASTER_PORT": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    assert budget.replay_size(config, 64_000) == pytest.approx(whole / 4, rel=0.01)
    assert budget.free_bytes("cpu") < room / 2
    need = budget.estimate(config, "native", "cpu")["cpu"]
    fixed = sum(need.parts.values())
    problem = budget.misfit(config, "cpu", need, fixed + need.replays * whole / 8)
    assert problem is not None
    assert problem.startswith("--replay.capacity 64000: allowed: at most ")
    assert int(problem.split("at most ")[1].split()[0]) == pytest.approx(32_000, rel=0.05)
