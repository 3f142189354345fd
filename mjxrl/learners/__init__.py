"""Learners: what acts, and what turns replay into better weights."""

from __future__ import annotations

import torch

from mjxrl.config import Config
from mjxrl.learners.learner import Learner
from mjxrl.learners.sac import SAC
from mjxrl.learners.td3 import TD3
from mjxrl.machine.ranks import ALONE, Ranks

__all__ = ["Learner", "make_learner"]


def make_learner(
    config: Config,
    obs_size: int,
    action_size: int,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
) -> Learner:
    """A learner with the algorithm that `config.algo` names, initialised from `config.seed`.

    Of several `ranks` each has one, of its share of the worlds and of every batch; all learn the same, bit for bit.
    """
    sizes, kind = (obs_size, action_size), {"td3": TD3, "sac": SAC}[config.algo]
    algorithm = kind(config, sizes, device, dtype, ranks)
    return Learner(config, algorithm, sizes, torch.device(device), dtype, ranks)
