"""Running statistics of observations and of returns, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

CLIP = 10.0  # standard deviations
RETURN_LIMIT = 5.0  # scaled rewards: the largest return seen so far, at most
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


class ReturnScale:
    """Scales rewards to returns of a standard deviation of about 1, at most about RETURN_LIMIT, whatever units a task's
    rewards have: critics then need no range of values set by hand.

    The factor is 1 / max(std G, max |G| / RETURN_LIMIT) over G_t = r_t + gamma G_(t-1) so far, within each world's
    episode. G, which sums backwards, stands in for the returns that critics estimate; those may be larger, by
    less than 1 + gamma, which is why a categorical critic's range is twice the limit. Lee et al. (2025),
    "Hyperspherical Normalization for Scalable Deep Reinforcement Learning", arXiv 2502.15280.

    Args:
        num_envs: worlds N.
        gamma: discount per step.
        device: where the statistics live.
        dtype: of the statistics.
        enabled: if false, `factor` is None and there is no state.
    """

    def __init__(
        self,
        num_envs: int,
        gamma: float,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        enabled: bool = True,
    ) -> None:
        self._gamma = gamma
        self._stats = RunningNorm(1, device, dtype, enabled=enabled)
        self._returns = torch.zeros(num_envs, device=device, dtype=dtype)
        self._largest = torch.zeros((), device=device, dtype=dtype)
        self.factor = torch.ones((), device=device, dtype=dtype) if enabled else None
        """0-d, what rewards are multiplied with; changes in place."""

    @torch.no_grad()
    def update(self, reward: Tensor, ended: Tensor, valid: Tensor) -> None:
        """Add one vector step: rewards, (N,); where the episode ended, (N,) bool; which worlds count, (N,) bool."""
        if self.factor is None:
            return
        self._returns.mul_(self._gamma).add_(torch.where(valid, reward, 0))
        self._stats.update(self._returns.unsqueeze(-1), valid)
        self._largest.copy_(torch.maximum(self._largest, torch.where(valid, self._returns.abs(), 0).max()))
        self._returns.masked_fill_(ended | ~valid, 0)
        self._refresh()

    def restart(self) -> None:
        """Every world begins a new episode."""
        self._returns.zero_()

    def _refresh(self) -> None:
        if self.factor is not None:
            spread = torch.maximum(self._stats.var.sqrt()[0], self._largest / RETURN_LIMIT)
            self.factor.copy_(torch.where(self._largest > 0, 1 / spread.clamp(min=1e-12), 1))

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the statistics and of each world's running return; empty when disabled."""
        if self.factor is None:
            return {}
        own = {"returns": self._returns.clone(), "largest": self._largest.clone()}
        return self._stats.state_dict() | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy saved statistics in; without `returns`, the worlds' running returns stay."""
        if self.factor is None:
            return
        self._stats.load_state_dict(state)
        self._largest.copy_(state["largest"])
        if "returns" in state:
            self._returns.copy_(state["returns"])
        self._refresh()
