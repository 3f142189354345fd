"""A run that cannot fit is refused before anything is allocated, with the largest replay that would fit."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl import memory, runtime
from mjxrl.config import Config
from mjxrl.envs import task_class
from mjxrl.launch import train as launch
from mjxrl.memory import GIB, MemoryProblem, Need
from mjxrl.presets import default_config, merged
from mjxrl.replay import Replay
from tests.small_runs import small


def a_config(env: str = "HalfCheetah-v5", **changes: Any) -> Config:
    config = default_config(env, "sac", num_envs=64, device="cpu")
    return merged(merged(config, {"task": task_class(env)()}), changes)


def free(monkeypatch: pytest.MonkeyPatch, **places: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda place: places[place])


def test_the_replay_is_counted_exactly() -> None:
    config = a_config(replay={"capacity": 5000})
    replay = Replay(64, 17, 6, capacity=5000, time_limit=1000, device="cpu")
    assert memory.replay_size(config, 5000) == replay.nbytes


def test_a_run_that_fits_is_not_refused_and_jax_keeps_its_way_on_a_cpu() -> None:
    assert memory.check(a_config(), "native", "cpu") is None


@pytest.mark.parametrize("saved", [True, False])
def test_the_largest_replay_that_fits_is_named_and_does_fit(saved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, cpu=4 * GIB)
    config = a_config(replay={"capacity": 100_000_000}, checkpoint={"replay": saved})
    with pytest.raises(MemoryProblem) as error:
        memory.check(config, "native", "cpu")
    message = str(error.value)
    assert "\n" not in message and message.startswith("--replay.capacity 100000000: allowed: at most ")
    assert "4.00 GiB are free on this machine" in message and "replay" in message and "learner" in message
    found = re.search(r"at most (\d+) here", message)
    assert found is not None
    most = int(found[1])
    assert memory.check(merged(config, {"replay": {"capacity": most}}), "native", "cpu") is None
    with pytest.raises(MemoryProblem):
        memory.check(merged(config, {"replay": {"capacity": most + 64}}), "native", "cpu")
    copies = 3 if saved else 1
    assert copies * memory.replay_size(config, most) < 3.5 * GIB < (copies + 0.2) * memory.replay_size(config, most)


def test_where_no_replay_fits_fewer_worlds_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, cpu=GIB)
    with pytest.raises(MemoryProblem, match=r"^--num-envs 2000000: allowed: fewer, with a smaller --replay\.capacity"):
        memory.check(a_config(num_envs=2_000_000), "native", "cpu")


def test_on_a_gpu_both_places_count_and_jax_gets_what_the_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "gpu_bytes", lambda: 80 * GIB)
    config = a_config("Humanoid-v5", num_envs=4096, replay={"capacity": 4_194_304})
    free(monkeypatch, cpu=64 * GIB, cuda=79 * GIB)
    share = memory.check(config, "jax", "cuda")
    need = memory.estimate(config, "jax", "cuda")["cuda"]
    wanted = memory.total(config, need)
    assert (
        share is not None and need.parts["physics"] / GIB / 80 < share < 1 - (wanted - need.parts["physics"]) / GIB / 80
    )
    assert memory.check(config, "native", "cuda") is None  # nothing of jax there
    free(monkeypatch, cpu=64 * GIB, cuda=6 * GIB)
    with pytest.raises(MemoryProblem, match=r"--replay.capacity .* 6.00 GiB are free on the GPU"):
        memory.check(config, "jax", "cuda")
    free(monkeypatch, cpu=4 * GIB, cuda=79 * GIB)  # the replay's copy on its way to a checkpoint
    with pytest.raises(MemoryProblem, match=r"--replay.capacity .* 4.00 GiB are free on this machine"):
        memory.check(config, "jax", "cuda")
    assert memory.check(merged(config, {"checkpoint": {"replay": False}}), "jax", "cuda") is not None


def test_the_estimate_of_the_learner_is_no_less_than_its_tensors() -> None:
    from mjxrl.learners import make_learner

    config = a_config(learner={"critic_hidden": (512, 512), "batch_size": 1024})
    state = make_learner(config, 17, 6, "cpu").state_dict()
    kept = sum(tensor.nbytes for tensor in state.values())
    assert kept < memory.learner_bytes(config) < 20 * kept


@pytest.mark.parametrize(("env", "measured"), [("HalfCheetah-v5", 21_000), ("Ant-v5", 13_800), ("Humanoid-v5", 27_400)])
def test_the_estimate_of_mjx_is_above_what_was_measured_and_of_its_order(env: str, measured: int) -> None:
    """Bytes per world: of HalfCheetah by XLA's own analysis of the step, of the others the state alone."""
    per_world = memory.physics_bytes(a_config(env), "jax") / 64
    assert measured < per_world < 20 * measured


def test_a_refused_run_leaves_nothing_behind_and_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MemoryProblem):
        launch(small("td3", run_dir=tmp_path / "run", replay={"capacity": 10**12}))
    assert list(tmp_path.iterdir()) == []


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    group = tmp_path / "outer" / "inner"
    group.mkdir(parents=True)
    for folder, limit in ((group, "max"), (group.parent, "1000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("700\n")
        (folder / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert list(memory._group_limits(tmp_path, ["outer/inner"])) == [1000 - 700 + 150]
    assert 0 < memory.free_bytes("cpu") < 2**50


def test_torch_without_the_gpu_that_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(runtime.UnavailableError, match=r"torch .* sees no GPU while the driver does: pip install"):
        runtime.confirm_torch_sees_cuda()


def test_jax_without_the_gpu_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(kind: str) -> list[Any]:
        raise RuntimeError(f"unknown backend {kind}")

    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(devices=devices, __version__="0.10"))
    with pytest.raises(
        runtime.UnavailableError, match=r"jax 0.10 sees no GPU while torch does: pip install 'mjxrl\[cuda\]'"
    ):
        runtime.confirm_jax_sees_cuda("jax")


def test_set_up_may_be_told_the_share_later_but_a_users_own_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION")
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setattr(runtime, "_set_here", {})
    for name in ("JAX_DEFAULT_MATMUL_PRECISION", "JAX_PLATFORMS", *names):
        monkeypatch.setenv(name, "before")
    for name in names:
        monkeypatch.delenv(name)
    runtime.set_up("cuda", "jax")
    assert os.environ[names[0]] == "false" and names[1] not in os.environ
    runtime.set_up("cuda", "jax", jax_memory_fraction=0.25)
    assert [os.environ[name] for name in names] == ["true", "0.250"]
    monkeypatch.setattr(runtime, "_set_here", {})
    monkeypatch.setenv(names[1], "0.5")
    runtime.set_up("cuda", "jax", jax_memory_fraction=0.25)
    assert os.environ[names[1]] == "0.5"
    for name in names:
        monkeypatch.delenv(name)


def test_need_is_what_it_says() -> None:
    config = a_config(replay={"capacity": 6400})
    assert memory.total(config, Need({"a": 5.0, "b": 6.0}, 2)) == 11 + 2 * memory.replay_size(config, 6400)
