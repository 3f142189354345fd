"""Returns and lengths of the episodes that end while training, kept on the device until they are logged."""

from __future__ import annotations

import torch
from torch import Tensor

from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.reporting import sums
from mjxrl.storage.state import State, flatten, part_of, restore
from mjxrl.worlds.worlds import StepResult

_NAMED = "term", "outcome"  # under which names the sums by name are saved


class EpisodeStats:
    """Running sums over the worlds; `update` never waits for the device, `pop` does once.

    First episodes start part-way through the time limit, so one that the limit cuts short of its full length is left
    out, and so is one that ended in divergence.
    """

    def __init__(self, num_envs: int, time_limit: int | None, device: torch.device, ranks: Ranks = ALONE) -> None:
        self._time_limit, self._ranks = time_limit or 0, ranks
        self._returns = torch.zeros(num_envs, device=device)
        self._lengths = torch.zeros(num_envs, device=device)
        self._totals = torch.zeros(3, device=device, dtype=torch.float64)  # episodes, their returns, their lengths
        self._terms: dict[str, Tensor] = {}  # sums of each reward term over worlds and steps
        self._outcomes: dict[str, Tensor] = {}  # sums over episodes of what is told of their ends
        self._valid = torch.zeros((), device=device, dtype=torch.float64)
        self._diverged = torch.zeros((), device=device, dtype=torch.float64)

    @torch.no_grad()
    def update(self, result: StepResult) -> None:
        """Count one vector step."""
        self._returns += result.reward
        self._lengths += result.valid
        done = result.done
        counted = done & result.valid & (result.terminated | (self._lengths >= self._time_limit))
        weight = counted.double()
        self._totals += torch.stack([weight.sum(), weight @ self._returns.double(), weight @ self._lengths.double()])
        self._returns.masked_fill_(done, 0.0)
        self._lengths.masked_fill_(done, 0.0)
        sums.add(self._terms, {name: term.sum(dtype=torch.float64) for name, term in result.reward_terms.items()})
        sums.add(self._outcomes, {name: weight @ value.double() for name, value in result.outcome.items()})
        self._valid += result.valid.sum()
        self._diverged += result.diverged.sum()

    def restart(self) -> None:
        """Leave out the episodes under way: the worlds begin new ones."""
        self._returns.zero_()
        self._lengths.zero_()

    def state_dict(self) -> State:
        """Copies of all sums so far."""
        return flatten({**self._tensors(), "term": self._terms, "outcome": self._outcomes})

    def load_state_dict(self, state: State) -> None:
        """Go on from saved sums."""
        restore(self._tensors(), state)
        on_device = ({key: x.to(self._returns.device) for key, x in part_of(state, part).items()} for part in _NAMED)
        self._terms, self._outcomes = on_device

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "returns": self._returns,
            "lengths": self._lengths,
            "totals": self._totals,
            "valid": self._valid,
            "diverged": self._diverged,
        }

    def pop(self) -> dict[str, float]:
        """Means since the last call, by metric name, over all ranks' worlds; `train/return` and `train/length` only if
        an episode ended."""
        totals = torch.stack(
            [*self._totals, self._valid, self._diverged, *self._terms.values(), *self._outcomes.values()]
        )
        episodes, returns, lengths, valid, diverged, *rest = self._ranks.sum(totals).tolist()
        terms, outcomes = rest[: len(self._terms)], rest[len(self._terms) :]
        metrics = {"train/episodes": episodes, "train/diverged": diverged}
        if episodes:
            metrics |= {"train/return": returns / episodes, "train/length": lengths / episodes}
            ends = zip(self._outcomes, outcomes, strict=True)
            metrics |= {f"train/{name}": total / episodes for name, total in ends}
        metrics |= {f"reward/{name}": term / max(valid, 1.0) for name, term in zip(self._terms, terms, strict=True)}
        self._totals.zero_()
        self._valid.zero_()
        self._diverged.zero_()
        self._terms, self._outcomes = {}, {}
        return metrics
