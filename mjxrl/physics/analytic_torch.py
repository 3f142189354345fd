"""Analytic physics on torch, in float32."""

from __future__ import annotations

import torch

from mjxrl.envs.task import Task
from mjxrl.physics.analytic import AnalyticPhysics, AnalyticState
from mjxrl.physics.torch_arrays import TorchArrays, TorchNamespace


class TorchAnalyticPhysics(TorchArrays, AnalyticPhysics):
    """`Physics` of an analytic task on torch; imports no jax."""

    def __init__(self, task: Task, num_envs: int, device: str) -> None:
        super().__init__(task, num_envs)
        self.xp = TorchNamespace(torch.device(device))
        self.ctrl_low, self.ctrl_high = map(self.xp.asarray, (self.ctrl_low, self.ctrl_high))

    def init(self, seed: int) -> tuple[AnalyticState, torch.Generator]:
        return self.default(), torch.Generator(self.xp.device).manual_seed(seed)
