"""What is kept of worlds that diverged, so that somebody can see why.

The vector step already ends such a world's episode, restarts it and hands out zeros that no loss and no statistic
counts. Here the first few cases are noted on the device, and told at the next log interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from mjxrl.errors import DivergedError
from mjxrl.storage.files import write_atomically
from mjxrl.storage.state import State, flatten, restore
from mjxrl.worlds.worlds import StepResult

FILE = "diverged.safetensors"
KEPT = 16  # cases: the first ones; later ones are often their consequence


class Quarantine:
    """Notes what the policy saw and did where a world diverged; `watch` never waits for the device.

    Args:
        run_dir: the run's folder.
        num_envs, obs_size, action_size: worlds N, and widths O and A.
        device: where the tensors live.
        raising: whether a diverged world ends the run.
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
    ) -> None:
        self._run_dir, self._raising = run_dir, raising
        self._worlds = torch.arange(num_envs, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        # one row more than is kept: there goes what need not be kept, since shapes must not depend on data
        self._cases = {
            "obs": torch.zeros(KEPT + 1, obs_size, device=device),
            "action": torch.zeros(KEPT + 1, action_size, device=device),
            "world": torch.zeros(KEPT + 1, dtype=torch.int64, device=device),
            "step": torch.zeros(KEPT + 1, dtype=torch.int64, device=device),
        }
        self._told = ""

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
        nth = self._count + diverged.cumsum(0) - 1
        row = torch.where(diverged, nth, KEPT).clamp_(max=KEPT)
        values = {"obs": obs, "action": action, "world": self._worlds, "step": torch.full_like(self._worlds, step)}
        for name, kept in self._cases.items():
            kept.index_copy_(0, row, values[name].to(kept.dtype))
        self._count += diverged.sum()

    def ends_run(self, row: Mapping[str, float], say: Callable[[str], None]) -> bool:
        """Write the first cases to the run's folder and tell the user, once, where `row` counts any; call it at a log
        interval, since it then waits for the device. Returns whether the run must end."""
        diverged = row.get("train/diverged", 0.0)
        if not diverged:
            return False
        kept = min(int(self._count), KEPT)
        content = {name: tensor[:kept].cpu() for name, tensor in self._cases.items()}
        write_atomically(self._run_dir / FILE, safetensors.torch.save(content))
        if not self._told:
            self._told = f"{diverged:.0f} worlds diverged (the first cases are in {self._run_dir / FILE})"
            say(f"{self._told}, were restarted and left out; train/diverged counts them")
        return self._raising

    def state_dict(self) -> State:
        """Copies of the cases so far and of their number, so that a resumed run keeps the first ones."""
        return flatten(self._kept())

    def load_state_dict(self, state: State) -> None:
        """Go on from `state_dict`."""
        restore(self._kept(), state)

    def _kept(self) -> State:
        return {"count": self._count, **{name: rows[:KEPT] for name, rows in self._cases.items()}}

    def check(self) -> None:
        """Raise if a diverged world was to end the run.

        Raises:
            DivergedError: one did.
        """
        if self._raising and self._told:
            raise DivergedError(f"--on-nan raise: {self._told}")
