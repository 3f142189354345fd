"""Running statistics of observations and of returns, on the device; no single frame or episode decides them."""

from __future__ import annotations

import torch
from torch import Tensor

from mjxrl.machine.ranks import ALONE, Ranks

CLIP = 10.0  # standard deviations
RETURN_LIMIT = 5.0  # scaled rewards: the largest return seen so far, at most
EPSILON = 1e-2  # added to the standard deviation: inputs that hardly ever move (rare contact forces) must not explode

# In deviations. All beyond CLIP looks the same to the networks; so far out it need not be known how far. Where more
# than one frame in 30^2 is there, the deviation grows until it is not: a hundredfold within some per cent of frames.
OUTLIER = 3 * CLIP
HISTORY = 100  # vector steps without which nobody knows what is far
EPISODES = 1000  # vector steps after which the largest return is that of whole episodes, in most tasks
LARGER = 2.0  # times the largest return so far: what one episode can reach in the eyes of the statistics


class RunningNorm:
    """Normalises observations by their running mean and standard deviation.

    Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances", in the
    form that holds mean and variance rather than sums, which would outgrow float32. Once a vector step brings less than
    1 / HISTORY of all frames, each counts as at most OUTLIER deviations from the mean (it is winsorised): an explosion
    does not blind an input for as long as the run has lasted, and a distribution that moves is followed all the same.

    Args:
        size: observation width O.
        device: where the statistics live.
        dtype: of the statistics.
        enabled: if false, `normalize` is the identity and there is no state.
        ranks: whose frames count; each brings its own, and all hold the same statistics.
    """

    def __init__(
        self,
        size: int,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        enabled: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self.enabled, self._ranks = enabled, ranks
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
        if self._ranks.size > 1:
            added, share, batch_mean, batch_var = self._moments_over_ranks(batch, mask)
        else:
            added, share, batch_mean, batch_var = self._moments(batch, mask)
        delta = batch_mean - self.mean
        self.mean.add_(share * delta)
        self.var.add_(share * (batch_var - self.var + (1 - share) * delta.square()))
        self.count.add_(added)
        self._refresh()

    def _moments(self, batch: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How many frames count, their share of all, their mean and variance."""
        left_out = ~mask.unsqueeze(-1)
        added = mask.sum()
        divisor = added.clamp(min=1)
        share = self._share(added)
        reach = (OUTLIER / self._inverse_std).masked_fill_(share > 1 / HISTORY, torch.inf)
        batch = batch.clamp(self.mean - reach, self.mean + reach)
        batch_mean = batch.masked_fill(left_out, 0).sum(0) / divisor
        batch_var = (batch - batch_mean).square_().masked_fill_(left_out, 0).sum(0) / divisor
        return added, share, batch_mean, batch_var

    def _moments_over_ranks(self, batch: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same of all ranks' frames, in one sum over ranks: about the mean so far, which all have, in float64. How
        far frames reach depends on how many there are, so both are summed, as they are and winsorised."""
        apart = torch.where(mask.unsqueeze(-1), batch - self.mean, 0).double()
        reach = OUTLIER / self._inverse_std
        both = torch.stack([apart, apart.clamp(-reach, reach)])
        sums = torch.stack([both.sum(1), both.square().sum(1)]).flatten()
        added, sums = self._ranks.sum(torch.cat([mask.sum().view(1), sums])).tensor_split([1])
        added, share = added[0], self._share(added[0])
        means = (sums / added.clamp(min=1)).view(2, 2, -1)
        mean, square = torch.where(share * HISTORY > 1, means[:, 0], means[:, 1])
        var = (square - mean.square()).clamp(min=0)
        return added, share, self.mean + mean.to(self.mean.dtype), var.to(self.mean.dtype)

    def _share(self, added: Tensor) -> Tensor:
        """What share of all frames those are; 0 if none counts, 1 for the first ones."""
        return (added / (self.count + added).clamp(min=1)).to(self.mean.dtype)

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

    The factor is 1 / max(std G, max |G| / RETURN_LIMIT) over G_t = r_t + gamma G_(t-1), within each world's episode. G,
    which sums backwards, stands in for the returns that critics estimate; those may be larger, by less than 1 + gamma,
    which is why a categorical critic's range is twice the limit. Lee et al. (2025), "Hyperspherical Normalization for
    Scalable Deep Reinforcement Learning", arXiv 2502.15280.

    The maximum, unlike theirs, forgets: it is that of the last one to two windows. A window is as long as the replay,
    so that it covers what the critics learn from, and little else. And it survives explosions: after EPISODES vector
    steps G counts as at most LARGER times what the maximum was as its episode began. A single episode can double it,
    then, and returns that really grow double it with every round of episodes.

    Args:
        num_envs: worlds N.
        gamma: discount per step.
        window: vector steps that the replay holds.
        device: where the statistics live.
        dtype: of the statistics.
        enabled: if false, rewards stay as they are and there is no state.
        ranks: whose rewards count; each has worlds of its own, and all the same statistics.
    """

    PER_WORLD = "returns", "ceiling"
    """What of the state belongs to the worlds: without it a run may go on in others."""
    ADDED = "before", "ceiling", "steps"
    """What of the state checkpoints of earlier versions lack; it is then as in a new run."""

    def __init__(
        self,
        num_envs: int,
        gamma: float,
        window: int,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        enabled: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self._gamma, self._window, self._ranks = gamma, window, ranks
        self._steps = 0  # known to the host, so that windows end without a sync
        self._stats = RunningNorm(1, device, dtype, enabled=enabled, ranks=ranks)
        self._tensors = {
            "returns": torch.zeros(num_envs, device=device, dtype=dtype),  # G
            "ceiling": torch.full((num_envs,), torch.inf, device=device, dtype=dtype),  # of |G|, in this episode
            "largest": torch.zeros((), device=device, dtype=dtype),  # |G| in this window
            "before": torch.zeros((), device=device, dtype=dtype),  # and in the one before
        }
        self.factor = torch.ones((), device=device, dtype=dtype) if enabled else None
        """0-d, what rewards are multiplied with; changes in place."""

    def scale(self, reward: Tensor) -> Tensor:
        """Rewards as critics see them; one that only an explosion can give counts as the end of their range."""
        if self.factor is None:
            return reward
        return (reward * self.factor).clamp(-LARGER * RETURN_LIMIT, LARGER * RETURN_LIMIT)

    @torch.no_grad()
    def update(self, reward: Tensor, ended: Tensor, valid: Tensor) -> None:
        """Add one vector step: rewards, (N,); where the episode ended, (N,) bool; which worlds count, (N,) bool."""
        if self.factor is None:
            return
        returns, ceiling, largest, before = self._tensors.values()
        invalid = ~valid
        returns.mul_(self._gamma).add_(reward.masked_fill(invalid, 0)).clamp_(-ceiling, ceiling)
        self._stats.update(returns.unsqueeze(-1), valid)
        torch.maximum(largest, returns.abs().masked_fill_(invalid, 0).max(), out=largest)
        self._ranks.largest(largest)
        begins = ended | invalid
        returns.masked_fill_(begins, 0)
        self._steps += 1
        if self._steps % self._window == 0:
            before.copy_(largest)
            largest.zero_()
            begins = torch.ones_like(begins)  # episodes that never end may grow too
        if self._steps >= EPISODES:
            known = torch.maximum(largest, before)
            ceiling.copy_(torch.where(begins, torch.where(known > 0, LARGER * known, torch.inf), ceiling))
        self._refresh()

    def restart(self) -> None:
        """Every world begins a new episode."""
        self._tensors["returns"].zero_()

    def _refresh(self) -> None:
        if self.factor is not None:
            largest = torch.maximum(self._tensors["largest"], self._tensors["before"])
            spread = torch.maximum(self._stats.var.sqrt()[0], largest / RETURN_LIMIT)
            self.factor.copy_((1 / spread.clamp(min=1e-12)).masked_fill_(~(spread > 0), 1))

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the statistics and of each world's running return; empty when disabled."""
        if self.factor is None:
            return {}
        own = {name: tensor.clone() for name, tensor in self._tensors.items()}
        return {**self._stats.state_dict(), **own, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy saved statistics in; what of PER_WORLD or ADDED is missing stays."""
        if self.factor is None:
            return
        self._stats.load_state_dict(state)
        for name in self._tensors.keys() & state.keys():
            self._tensors[name].copy_(state[name])
        self._steps = int(state.get("steps", self._steps))
        self._refresh()
