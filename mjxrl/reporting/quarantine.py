"""What is kept of worlds that were not valid, so that somebody can see why.

The vector step already ends such a world's episode, restarts it and hands out zeros that no loss and no statistic
counts. Here the reasons are counted and the first few cases noted on the device, and told at the next log interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from mjxrl.errors import DivergedError
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.storage.files import write_atomically
from mjxrl.storage.state import State, flatten, restore
from mjxrl.worlds.faults import BROKE_DOWN, faults
from mjxrl.worlds.worlds import StepResult

FILE = "diverged.safetensors"
KEPT = 16  # cases: the first ones; later ones are often their consequence


class Quarantine:
    """Notes what the policy saw and did where a world was not valid; `watch` never waits for the device.

    Args:
        run_dir: the run's folder.
        num_envs, obs_size, action_size: worlds N, and widths O and A.
        device: where the tensors live.
        raising: whether a single such world ends the run; else it takes most of the transitions between two log lines.
        ranks: whose worlds are counted; each notes the first cases of its own.
    """

    def __init__(
        self,
        run_dir: Path,
        num_envs: int,
        obs_size: int,
        action_size: int,
        device: torch.device,
        *,
        raising: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        self._run_dir, self._raising, self._ranks = run_dir, raising, ranks
        self._worlds = torch.arange(num_envs, device=device) + ranks.rank * num_envs
        self._one_each = torch.ones_like(self._worlds)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        # one row more than is kept: there goes what need not be kept, since shapes must not depend on data
        self._cases = {
            "obs": torch.zeros(KEPT + 1, obs_size, device=device),
            "action": torch.zeros(KEPT + 1, action_size, device=device),
            "world": torch.zeros(KEPT + 1, dtype=torch.int64, device=device),
            "step": torch.zeros(KEPT + 1, dtype=torch.int64, device=device),
        }
        self._faults: list[str] = []  # in words, known from the first step on
        self._counts: Tensor | None = None  # of each of them, of all transitions since the last log line
        self._told: set[str] = set()
        self._end = ""

    @torch.no_grad()
    def watch(self, obs: Tensor, action: Tensor, result: StepResult, step: int) -> None:
        """Note the worlds that diverged.

        Args:
            obs: (N, O) what the policy saw before the step.
            action: (N, A) what was done.
            result: of the step.
            step: transitions collected before it.
        """
        diverged = result.diverged
        fault = diverged * BROKE_DOWN if result.fault is None else result.fault.long()
        self._faults = self._faults or faults(result.reward_terms, obs.shape[1])
        if self._counts is None:
            self._counts = torch.zeros(len(self._faults), dtype=torch.int64, device=fault.device)
        self._counts.index_add_(0, fault, self._one_each)
        nth = self._count + diverged.cumsum(0) - 1
        row = torch.where(diverged, nth, KEPT).clamp_(max=KEPT)
        values = {"obs": obs, "action": action, "world": self._worlds, "step": torch.full_like(self._worlds, step)}
        for name, kept in self._cases.items():
            kept.index_copy_(0, row, values[name].to(kept.dtype))
        self._count += diverged.sum()

    def ends_run(self, row: Mapping[str, float], say: Callable[[str], None]) -> bool:
        """Where `row` is a log line, which then waits for the device: write the first cases to the run's folder, and
        tell the user of each reason once. Returns whether the run must end."""
        if "train/diverged" not in row or self._counts is None:
            return False
        usable, *counts = self._ranks.sum(self._counts).tolist()
        self._counts.zero_()
        found = {name: count for name, count in zip(self._faults[1:], counts, strict=True) if count}
        if not found:
            return False
        kept = min(int(self._count), KEPT)
        content = {name: tensor[:kept].cpu() for name, tensor in self._cases.items()}
        write_atomically(self._run_dir / self._ranks.own(FILE), safetensors.torch.save(content))
        unusable = sum(found.values())
        reasons = "; ".join(f"in {count:,} {name}" for name, count in found.items())
        text = f"{unusable:,} of {usable + unusable:,} transitions are unusable: {reasons}"
        text += f" (the first cases: {self._run_dir / FILE})"
        if not found.keys() <= self._told:
            say(f"{text}: their worlds were restarted; train/diverged counts them")
            self._told |= found.keys()
        if self._raising or unusable > usable:
            self._end = f"--on-nan raise: {text}" if self._raising else f"most transitions are of no use: {text}"
        return bool(self._end)

    def state_dict(self) -> State:
        """Copies of the cases so far and of their number, so that a resumed run keeps the first ones."""
        counts = {} if self._counts is None else {"faults": self._counts}
        return flatten({**self._kept(), **counts})

    def load_state_dict(self, state: State) -> None:
        """Go on from `state_dict`."""
        restore(self._kept(), state)
        self._counts = state["faults"].to(self._worlds.device) if "faults" in state else None

    def _kept(self) -> State:
        return {"count": self._count, **{name: rows[:KEPT] for name, rows in self._cases.items()}}

    def check(self) -> None:
        """Raise if the run had to end.

        Raises:
            DivergedError: the message says why.
        """
        if self._end:
            raise DivergedError(self._end)
