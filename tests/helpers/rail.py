"""Worlds of somebody else's: masses on rails, written in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mjxrl.worlds.worlds import StepResult, Worlds

LIMIT = 10


class Rail(Worlds):
    """An observation is position and speed; ends terminate. Nothing can be saved."""

    obs_size, action_size, device, max_episode_steps = 2, 1, torch.device("cpu"), LIMIT

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.random = num_envs, torch.Generator().manual_seed(0)
        self.seeds: list[int | None] = []

    def _first(self) -> Tensor:
        return torch.rand(self.num_envs, 2, generator=self.random) * 2 - 1

    def reset(self, seed: int | None = None) -> Tensor:
        self.seeds.append(seed)
        if seed is not None:
            self.random.manual_seed(seed)
        self.age, self.state = torch.zeros(self.num_envs), self._first()
        return self.state

    def dispatch(self, action: Tensor) -> None:
        speed = 0.9 * self.state[:, 1] + action[:, 0]
        after, age = torch.stack([self.state[:, 0] + speed, speed], dim=1), self.age + 1
        terminated, truncated = after[:, 0].abs() > 3, age >= LIMIT
        self.age = age.masked_fill(terminated | truncated, 0)
        self.state = torch.where(self.age[:, None] == 0, self._first(), after)
        self.result = StepResult(self.state, 1 - after[:, 0].abs(), terminated, truncated, after)

    def collect(self) -> StepResult:
        return self.result


class SavedRail(Rail):
    """The same, and it can be saved."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"age": self.age.clone(), "state": self.state.clone(), "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        self.age, self.state = state["age"].clone(), state["state"].clone()
        self.random.set_state(state["random"])
