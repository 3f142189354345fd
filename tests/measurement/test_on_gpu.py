"""What is measured on a GPU only."""

from __future__ import annotations

import dataclasses

import pytest

from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.measurement import end_to_end, memory_use
from mjxrl.measurement.setting import Setting

pytestmark = pytest.mark.gpu


@pytest.fixture
def setting() -> Setting:
    config = default_config("Pendulum-v1", "td3", num_envs=1024, backend="jax", device="cuda")
    config = merged(dataclasses.replace(config, task=task_class("Pendulum-v1")()), {"learner": {"batch_size": 256}})
    return Setting(config, config.machine(), repeats=2, seconds=0.05)


def test_kernels_are_seen(setting: Setting) -> None:
    found = end_to_end.measure(setting)
    assert 0 <= found["share_without_kernel"] < 1 and found["kernels_per_iteration"] > 0
    assert found["host_s"]["median"] > 0


def test_peaks_on_the_device(setting: Setting) -> None:
    found = memory_use.measure(setting)
    assert found["peak_torch_bytes"] > found["replay_bytes"] and found["peak_jax_bytes"] > 0
