"""What accumulates between two lines of metrics: means of the learner's numbers, rates, and time by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.reporting import sums
from mjxrl.storage.state import State, flatten, part_of


class Interval:
    """Sums on the device until `pop`, which is the only call that waits for it."""

    def __init__(self, device: torch.device, ranks: Ranks = ALONE) -> None:
        self._device, self._ranks = device, ranks
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._started = self._since = time.monotonic()
        self._steps = self._updates = 0
        self._phases: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds of wall-clock time since the run was started, or was resumed."""
        return time.monotonic() - self._started

    def begin(self, steps: int, updates: int) -> None:
        """Count rates from here: a resumed run has not made the steps before it."""
        self._since, self._steps, self._updates = time.monotonic(), steps, updates
        self._phases = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a block as `time/<name>_s`: the host's. On a GPU that is launching the work, and in
        `collect` waiting for the physics where that runs beside the updates."""
        started = time.perf_counter()
        yield
        self._phases[name] = self._phases.get(name, 0.0) + time.perf_counter() - started

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the learner's numbers of one vector step; a name is missing where no policy update fell due."""
        sums.add(self._sums, metrics)
        for name in metrics:
            self._counts[name] = self._counts.get(name, 0) + 1

    def pop(self, steps: int, updates: int) -> dict[str, float]:
        """Means and rates since the last call; means are those of all ranks."""
        totals = self._ranks.sum(torch.stack(list(self._sums.values()))).tolist() if self._sums else []
        ranks = self._ranks.size
        metrics = {
            f"learner/{name}": total / ranks / self._counts[name]
            for name, total in zip(self._sums, totals, strict=True)
        }
        seconds = time.monotonic() - self._since
        metrics |= {
            "updates": updates,
            "time/env_steps_per_s": (steps - self._steps) / seconds,
            "time/updates_per_s": (updates - self._updates) / seconds,
        }
        metrics |= {f"time/{name}_s": spent for name, spent in self._phases.items()}
        self._sums, self._counts = {}, {}
        self.begin(steps, updates)
        return metrics

    def state_dict(self) -> State:
        """Sums and counts so far."""
        return flatten({"sum": self._sums, "count": {name: torch.tensor(n) for name, n in self._counts.items()}})

    def load_state_dict(self, state: State) -> None:
        """Go on from saved sums."""
        self._sums = {name: value.to(self._device) for name, value in part_of(state, "sum").items()}
        self._counts = {name: int(value) for name, value in part_of(state, "count").items()}
