"""Hindsight experience replay: what was reached later in an episode stands in for the goal that it had.

Andrychowicz et al. (2017), "Hindsight Experience Replay", arXiv 1707.01495, with the strategy *future*: the new goal is
what was achieved after a transition drawn uniformly from this one to the last of its episode. Goals are exchanged as
transitions are drawn, so nothing is stored twice.

To find an episode's last transition in one look-up, each transition carries its episode's number, and a table holds the
row in which that episode ended. The table is as long as the ring can hold episodes of full length; where shorter ones,
ended by a breakdown, have pushed an episode out of it, what a transition itself achieved is its new goal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

OPEN = -1  # the row of an episode that goes on


def table_layout(rows: int, num_envs: int, time_limit: int | None) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and types of what `Episodes` keeps beside a ring of so many rows."""
    episodes = math.ceil(rows / (time_limit or 1)) + 2
    return {
        "episode": ((rows, num_envs), torch.int32),
        "current": ((num_envs,), torch.int32),
        "owner": ((episodes, num_envs), torch.int32),
        "last": ((episodes, num_envs), torch.int32),
    }


class Episodes:
    """In which row each episode of a ring ended; never waits for the device.

    Args:
        storage: the tensors of `table_layout`, which the ring keeps and saves.
    """

    def __init__(self, storage: Mapping[str, Tensor]) -> None:
        self._episode, self._current, self._owner, self._last = (storage[name] for name in table_layout(1, 1, None))
        self._rows, num_envs = self._episode.shape
        self._worlds = torch.arange(num_envs, device=self._episode.device)

    def start(self) -> None:
        """Forget all episodes."""
        self._current.zero_()
        self._owner.fill_(-1)

    def append(self, row: int, done: Tensor, valid: Tensor) -> None:
        """Count the transition in `row`: where its episode is `done`, (N,) bool, and where it is `valid`, (N,) bool."""
        self._episode[row].copy_(self._current)
        # nothing was achieved in an invalid transition, which always ends its episode: the one before it is the last
        last = torch.where(valid, row, (row - 1) % self._rows)
        self._note(torch.where(done | ~valid, last, OPEN))
        self._current += done | ~valid

    def close(self, row: int, where: Tensor) -> None:
        """The episodes of the worlds `where`, (N,) bool, ended in `row`."""
        slot = self._current.long() % len(self._last)
        self._note(torch.where(where, row, self._last[slot, self._worlds].long()))
        self._current += where

    def _note(self, last: Tensor) -> None:
        at = self._current.long() % len(self._last), self._worlds
        self._owner[at] = self._current
        self._last[at] = last.to(self._last.dtype)

    def remaining(self, row: Tensor, world: Tensor, steps: Tensor) -> Tensor:
        """How many transitions of its episode follow each drawn one; `steps` as in `Indices`."""
        number = self._episode[row, world]
        slot = number.long() % len(self._last)
        last = self._last[slot, world].long()
        left = torch.where(last == OPEN, steps - 1, (last - row) % self._rows)
        return torch.where((self._owner[slot, world] == number) & (left < steps), left, 0)
