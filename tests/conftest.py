"""Set-up that must come before jax is imported, and worlds that many tests share: each task compiles once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import hypothesis
import pytest
import torch

from mjxrl.machine import settings

# jax takes one set of devices per process: `make test-gpu` runs the tests marked gpu, by themselves, on the GPU
DEVICE = os.environ.get("MJXRL_TEST_DEVICE", "cpu")
settings.set_up(DEVICE, "jax")  # compiled programs are kept between test runs
settings.keep_mujoco_log_out_of_the_way()
torch.set_num_threads(1)  # steady on a busy machine

# the same examples every time: a failure must belong to the change that is tested
hypothesis.settings.register_profile("mjxrl", derandomize=True, deadline=None)
hypothesis.settings.load_profile("mjxrl")

from tests.helpers.shapes import check_shapes  # noqa: E402

check_shapes(
    "mjxrl.worlds.vector_env", "mjxrl.replay.batch", "mjxrl.replay.ring", "mjxrl.reporting.episodes",
    "mjxrl.reporting.quarantine", "mjxrl.networks.mlp", "mjxrl.networks.statistics", "mjxrl.learners.optimizer",
    "mjxrl.learners.batches", "mjxrl.learners.values", "mjxrl.learners.diagnostics", "mjxrl.learners.actor_critic",
    "mjxrl.learners.td3", "mjxrl.learners.sac", "mjxrl.learners.updates", "mjxrl.learners.learner",
    "mjxrl.learners.noise", "mjxrl.networks.batch_norm",
)  # fmt: skip

from mjxrl.checks.parity import Report, compare  # noqa: E402
from mjxrl.envs import task_class  # noqa: E402
from mjxrl.worlds.vector_env import VectorEnv  # noqa: E402


def make_env(env_id: str, num_envs: int, backend: str) -> VectorEnv:
    return VectorEnv(task_class(env_id)(), num_envs, backend=backend, device=torch.device("cpu"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = DEVICE == "cuda" and torch.cuda.is_available()
    for item in items:
        if item.get_closest_marker("gpu") and not on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU: make test-gpu"))


@pytest.fixture(scope="session")
def cheetah_native() -> VectorEnv:
    return make_env("HalfCheetah-v5", 8, "native")


@pytest.fixture(scope="session")
def ant_native() -> VectorEnv:
    return make_env("Ant-v5", 8, "native")


@pytest.fixture(scope="session")
def cheetah_jax() -> VectorEnv:
    return make_env("HalfCheetah-v5", 16, "jax")


@pytest.fixture(scope="session")
def cheetah_warp() -> VectorEnv:
    need_warp()
    return make_env("HalfCheetah-v5", 4, "warp")


@pytest.fixture(scope="session")
def reports() -> Callable[[str, str], list[Report]]:
    """A task's parity on a backend, 16 states of each kind, computed once."""

    @cache
    def of(env_id: str, backend: str) -> list[Report]:
        if backend == "warp":
            need_warp()
        return compare(task_class(env_id)(), backend, states=16)

    return of


def need_warp() -> None:
    pytest.importorskip("mujoco_warp", reason="Warp is missing: pip install 'mjxrl[warp]'")
