"""Running statistics of observations, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP = 10.0  # standard deviations
EPSILON = 1e-2  # added to the standard deviation: inputs that hardly ever move (rare contact forces) must not explode


class RunningNorm:
    """Normalises observations by their running mean and standard deviation.

    Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances", in the
    form that holds mean and variance rather than sums, which would outgrow float32.

    Args:
        size: observation width O.
        device: where the statistics live.
        dtype: of the statistics.
        enabled: if false, `normalize` is the identity and there is no state.
    """

    def __init__(
        self, size: int, device: torch.device | str, dtype: torch.dtype = torch.float32, *, enabled: bool = True
    ) -> None:
        self.enabled = enabled
        self.mean = torch.zeros(size, dtype=dtype, device=device)
        self.var = torch.ones(size, dtype=dtype, device=device)
        # float64: a float32 counter stands still at 2^24.
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self._inverse_std = torch.empty_like(self.mean)
        self._refresh()

    def _refresh(self) -> None:
        torch.reciprocal(self.var.sqrt() + EPSILON, out=self._inverse_std)

    @torch.no_grad()
    def update(self, batch: Tensor, mask: Tensor | None = None) -> None:
        """Add fresh frames, (B, O); those where `mask`, (B,) bool, is false do not count, whatever they contain."""
        if not self.enabled:
            return
        if mask is None:
            mask = torch.ones(batch.shape[0], dtype=torch.bool, device=batch.device)
        rows = mask.unsqueeze(-1)
        added = mask.sum()
        divisor = added.clamp(min=1)
        batch_mean = torch.where(rows, batch, 0).sum(0) / divisor
        batch_var = torch.where(rows, (batch - batch_mean).square(), 0).sum(0) / divisor
        # The batch's share of all frames; 0 if none counts, 1 for the first batch.
        share = (added / (self.count + added).clamp(min=1)).to(self.mean.dtype)
        delta = batch_mean - self.mean
        self.mean.add_(share * delta)
        self.var.add_(share * (batch_var - self.var + (1 - share) * delta.square()))
        self.count.add_(added)
        self._refresh()

    def normalize(self, obs: Tensor) -> Tensor:
        """(..., O) raw to (..., O) standardised, clipped to [-CLIP, CLIP]."""
        if not self.enabled:
            return obs
        return ((obs - self.mean) * self._inverse_std).clamp(-CLIP, CLIP)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of mean, variance and count; empty when disabled."""
        if not self.enabled:
            return {}
        return {"mean": self.mean.clone(), "var": self.var.clone(), "count": self.count.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy saved statistics in."""
        if not self.enabled:
            return
        self.mean.copy_(state["mean"])
        self.var.copy_(state["var"])
        self.count.copy_(state["count"])
        self._refresh()
