"""The policy of a run's checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from mjxrl.adapters.chosen import sizes
from mjxrl.config import Config
from mjxrl.networks.spec import actor_spec
from mjxrl.policy.policy import Policy, PolicyInfo
from mjxrl.storage import checkpoint
from mjxrl.storage.run_dir import load_config


def run_policy(
    run_dir: Path, which: str = "latest", *, device: torch.device | str = "cpu", xml_file: str | None = None
) -> tuple[Policy, Config]:
    """The deterministic policy, and the configuration of the run.

    Args:
        which: "latest", "best" or "step_<n>".
        device: where it computes.
        xml_file: another MJCF than the task was trained with.

    Raises:
        RunError: the run or the checkpoint cannot be used (CheckpointError for the latter).
        PolicyError: the checkpoint does not fit the task.
    """
    config = load_config(run_dir, xml_file, as_trained=True)
    manifest, files = checkpoint.read(run_dir, which, config.identity, ["learner"])
    obs_size, *bounds = sizes(config.task)
    low, high = (tuple(map(float, bound)) for bound in bounds)
    network = actor_spec(config, obs_size, len(low))
    info = PolicyInfo(config.env, config.algo, manifest["step"], low, high, network)
    return Policy(info, files["learner"], device), config
