"""Exploration noise that a world may keep for some steps, so that what it explores goes somewhere."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mjxrl.storage.state import State, flatten, restore

EXPONENT = 2.0  # of the zeta law, as FlashSAC has it


class HeldNoise:
    """Standard normal noise for N worlds, (N, A), each drawn anew after k steps: P(k) ~ k^-2, k = 1 .. `longest`.

    Every world counts for itself. FlashSAC, arXiv 2604.04539; the law is that of Dabney, Ostrovski and Barreto (2020),
    "Temporally-Extended epsilon-Greedy Exploration", arXiv 2006.01782. With `longest` 1 noise is new at every step, for
    any number of worlds, and there is no state.
    """

    PER_WORLD = "held", "left"
    """What of the state belongs to the worlds: all."""

    def __init__(self, longest: int, worlds: int, size: int, device: torch.device | str, dtype: torch.dtype) -> None:
        self._size, self._like = size, {"device": device, "dtype": dtype}
        weights = torch.arange(1, longest + 1, dtype=torch.float64) ** -EXPONENT
        bounds = (weights.cumsum(0) / weights.sum())[:-1]  # between one length and the next
        self._bounds = bounds.to(device, torch.float32)
        self._state: State = {}
        if longest > 1:
            self._state = {
                "held": torch.zeros(worlds, size, **self._like),
                "left": torch.zeros(worlds, dtype=torch.int64, device=device),  # steps for which it stays
            }

    def draw(self, worlds: int, generator: torch.Generator | None) -> Annotated[Tensor, "N A"]:
        """The noise of this step."""
        fresh = torch.randn(worlds, self._size, generator=generator, **self._like)
        if not self._state:
            return fresh
        held, left = self._state.values()
        uniform = torch.rand(worlds, generator=generator, device=left.device)
        due = left == 0
        held.copy_(torch.where(due.unsqueeze(-1), fresh, held))
        left.copy_(torch.where(due, torch.searchsorted(self._bounds, uniform), left - 1))
        return held.clone()

    def state_dict(self) -> State:
        """Copies of the noise held and of the steps left."""
        return flatten(self._state)

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in."""
        restore(self._state, state)
