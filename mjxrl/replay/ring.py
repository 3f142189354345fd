"""The replay ring: every transition of every world, on one device, each observation stored once.

Rows are vectorized steps and columns are worlds. The next observation of row t is row t + 1, so nothing is stored
twice. The exception is a truncated episode, whose true last observation the autoreset replaces in row t + 1: it is kept
in a small *side region* below the ring.

    observations   row 0 .. T-1         o_t, a ring; the head row holds the newest one and has no transition yet
                   row T .. T+S-1       the last observations of truncated episodes
    the rest       row 0 .. T-1         a_t, r_t, flags and side slot of the transition that leaves o_t

The head row belongs to no transition, so a ring for C rows of transitions has T = C + 1 rows.

Why S = ceil(T / time_limit) + 1 is enough: a world writes to one side slot at every step and moves to the next only
when it truncates. The slot of a truncation comes into use again after S - 1 more of them, which are at least
`time_limit` steps apart, hence at least T steps later, when that transition has left the ring. So shapes are fixed,
nothing is searched or compacted, and the host never has to know who truncated.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mjxrl.replay import saving
from mjxrl.replay.batch import Batch, Indices, Windows
from mjxrl.replay.hindsight import Episodes
from mjxrl.replay.layout import layout
from mjxrl.storage.snapshot import Snapshot
from mjxrl.worlds.worlds import Goals, StepResult

TERMINATED, TRUNCATED, VALID = 1, 2, 4  # bits of a transition's flags


class Replay:
    """Ring of transitions for `num_envs` worlds that step together.

    Args:
        num_envs, obs_size, action_size: worlds N and widths O, A of observations and actions.
        capacity: transitions in all; rounded up to whole rows of N.
        time_limit: least number of steps between two truncations of a world; None if no world is ever truncated.
        device: where everything lives and is sampled.
        goals: where observations hold goals, if they do.
        relabelled: the share of drawn transitions that are given another goal in hindsight; takes goals.
        dtype: of observations, actions and rewards.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(
        self,
        num_envs: int,
        obs_size: int,
        action_size: int,
        *,
        capacity: int,
        time_limit: int | None,
        device: torch.device | str,
        goals: Goals | None = None,
        relabelled: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        kept = layout(num_envs, obs_size, action_size, capacity, time_limit, relabelled > 0, dtype)
        self._num_envs = num_envs
        self._device = torch.device(device)
        self._storage = {name: torch.zeros(s, dtype=kind, device=self._device) for name, (s, kind) in kept.items()}
        self._obs, self._action, self._reward, self._flags, self._side, self._slot, *_ = self._storage.values()
        self._rows = len(self._action)
        self._side_rows = len(self._obs) - self._rows
        self._worlds = torch.arange(num_envs, device=self._device)
        self.goals, self._relabelled = goals, relabelled
        self._episodes = Episodes(self._storage) if relabelled else None
        # Head and fill are the same in every world, so the host knows them without asking the device.
        self._head = self._filled = 0
        self._discounts: dict[tuple[int, float], Tensor] = {}
        self._snapshots: list[Snapshot] = []

    @property
    def capacity(self) -> int:
        """Transitions kept at most, all worlds together."""
        return (self._rows - 1) * self._num_envs

    @property
    def _transitions(self) -> int:
        return self._rows * self._num_envs

    @property
    def size(self) -> int:
        """Transitions stored now, all worlds together."""
        return self._filled * self._num_envs

    @property
    def nbytes(self) -> int:
        """Bytes held on the device; equals `replay_bytes` of the same sizes."""
        return sum(tensor.nbytes for tensor in self._storage.values())

    @torch.no_grad()
    def start(self, obs: Tensor) -> None:
        """Empty the ring and write the first observation, (N, O), of every world."""
        self._head = self._filled = 0
        self._obs[0].copy_(obs)
        if self._episodes is not None:
            self._episodes.start()

    @torch.no_grad()
    def restart(self, obs: Tensor) -> None:
        """The worlds begin new episodes with `obs`, (N, O), which takes the place of the newest next observations: the
        transitions to those, the newest ones, no longer count."""
        newest = self._flags[self._head - 1]
        going_on = (newest & (TERMINATED | TRUNCATED) == 0) & (newest != 0)
        if self._episodes is not None:
            self._episodes.close((self._head - 2) % self._rows, going_on)
        newest.masked_fill_(going_on, 0)
        self._obs[self._head].copy_(obs)

    @torch.no_grad()
    def append(self, action: Tensor, result: StepResult) -> None:
        """Store one vectorized step: `action`, (N, A) as executed, is clamped to [-1, 1]; of worlds that are not valid
        zeros are stored. Nothing waits for the device and no shape depends on data."""
        row, next_row, invalid = self._head, (self._head + 1) % self._rows, ~result.valid
        for snapshot in self._snapshots:
            snapshot.keep(next_row)  # its observation is overwritten now, its transition with the next step
        flags = result.terminated * TERMINATED + result.truncated * TRUNCATED + VALID
        truncated = result.truncated & result.valid
        # filled, not multiplied, since the numbers of a quarantined world may be NaN
        action = action.masked_fill(invalid.unsqueeze(-1), 0)
        final_obs = result.final_obs.masked_fill(invalid.unsqueeze(-1), 0)
        self._action[row].copy_(action.clamp_(-1, 1))
        self._reward[row].copy_(result.reward.masked_fill(invalid, 0))
        self._flags[row].copy_(flags.masked_fill_(invalid, 0))
        self._side[row].copy_(self._slot)
        self._obs[next_row].copy_(result.obs)
        slots = (self._rows + self._slot.long()) * self._num_envs + self._worlds
        self._obs.view(-1, self._obs.shape[-1]).index_copy_(0, slots, final_obs.to(self._obs.dtype))
        self._slot.copy_((self._slot.long() + truncated) % self._side_rows)
        if self._episodes is not None:
            self._episodes.append(row, result.done, result.valid)
        self._head = next_row
        self._filled = min(self._filled + 1, self._rows - 1)

    def draw(self, updates: int, batch_size: int, generator: torch.Generator | None) -> Indices:
        """Draw transitions uniformly, with replacement, for `updates` batches at once: (updates, batch_size).

        Raises:
            ValueError: nothing is stored yet.
        """
        if not self._filled:
            raise ValueError("cannot draw from an empty replay: append a step first")
        nth = torch.randint(self.size, (updates, batch_size), generator=generator, device=self._device)
        oldest = self._head - self._filled
        flat = (nth + oldest * self._num_envs) % self._transitions
        luck = None if self._episodes is None else torch.rand(flat.shape, generator=generator, device=self._device)
        return Indices(flat, self._filled - nth // self._num_envs, luck)

    @torch.no_grad()
    def windows(self, indices: Indices, n_step: int, gamma: float) -> Windows:
        """Resolve drawn transitions, of any leading shape, into windows of at most `n_step` steps: the small numbers.

        A window ends with its episode, before an invalid transition and at the newest stored transition, whichever
        comes first, and is discounted by its own length.
        """
        first = indices.flat
        flags = self._flags.view(-1)
        reward = self._reward.view(-1)
        powers = self._powers(n_step, gamma)
        goal, relabelled = self._hindsight(indices)
        first_flags = flags[first]
        if n_step == 1:
            last, last_flags = first, first_flags
            # contiguous, as in the buffers of captured updates: other strides would be compiled for once more
            summed, discount = reward[first].to(powers.dtype), powers[1].expand(first.shape).contiguous()
            if relabelled is not None:
                summed = summed + self._gain(first, first_flags, goal, relabelled)
        else:
            steps = torch.arange(n_step, device=self._device).view(-1, *[1] * first.dim())
            window = (first + steps * self._num_envs) % self._transitions  # (n, ..., B)
            window_flags = flags[window]
            # A step goes on to the next one if it is valid, did not end its episode, and the next is stored and valid.
            goes_on = (window_flags[:-1] == VALID) & (window_flags[1:] >= VALID) & (steps[1:] < indices.steps)
            inside = torch.cat([torch.ones_like(goes_on[:1]), goes_on]).to(torch.uint8).cumprod(0)
            length = inside.sum(0)
            rewards = reward[window]
            if relabelled is not None:
                rewards = rewards + self._gain(window, window_flags, goal, relabelled)
            summed = (powers[:-1].view(steps.shape) * torch.where(inside > 0, rewards, 0)).sum(0)
            discount = powers[length]
            last = (first + (length - 1) * self._num_envs) % self._transitions
            last_flags = flags[last]
        return Windows(
            first=first,
            next=self._next(last, last_flags),
            reward=summed,
            discount=discount,
            terminated=last_flags & TERMINATED != 0,
            invalid=first_flags & VALID == 0,
            goal=goal,
        )

    def _next(self, flat: Tensor, flags: Tensor) -> Tensor:
        """The flat row of the true observation after each transition: in the ring, or in the side region."""
        side = (self._rows + self._side.view(-1)[flat].long()) * self._num_envs + flat % self._num_envs
        was_truncated = (flags & (TRUNCATED | TERMINATED)) == TRUNCATED
        return torch.where(was_truncated, side, (flat + self._num_envs) % self._transitions)

    def _powers(self, n_step: int, gamma: float) -> Tensor:
        """gamma^0 .. gamma^n_step, the same tensor each time: made in float64, used in float32 at least, never in
        reduced precision, whatever the storage is."""
        if (n_step, gamma) not in self._discounts:
            powers = gamma ** torch.arange(n_step + 1, device=self._device, dtype=torch.float64)
            self._discounts[n_step, gamma] = powers.to(torch.promote_types(self._reward.dtype, torch.float32))
        return self._discounts[n_step, gamma]

    def _hindsight(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """The goal of each drawn transition, (..., B, G), and whether it is another one than its own, (..., B) bool;
        without goals no number, and None."""
        first, goals, luck = indices.flat, self.goals, indices.luck
        if goals is None or self._episodes is None or luck is None:
            return self._obs.new_empty(*first.shape, 0), None
        obs = self._obs.view(-1, self._obs.shape[-1])
        left = self._episodes.remaining(first // self._num_envs, first % self._num_envs, indices.steps)
        relabelled = luck < self._relabelled
        # below the share, luck is uniform there: it chooses among this transition and those that are left
        ahead = torch.minimum((luck / self._relabelled * (left + 1)).long(), left)
        later = (first + ahead * self._num_envs) % self._transitions
        reached = obs[:, goals.achieved][self._next(later, self._flags.view(-1)[later])]
        return torch.where(relabelled.unsqueeze(-1), reached, obs[:, goals.desired][first]), relabelled

    def _gain(self, flat: Tensor, flags: Tensor, goal: Tensor, relabelled: Tensor) -> Tensor:
        """How much more each transition's reward is under `goal`, (..., B, G), than under its own."""
        assert self.goals is not None
        obs = self._obs.view(-1, self._obs.shape[-1])
        achieved, own = obs[:, self.goals.achieved][self._next(flat, flags)], obs[:, self.goals.desired][flat]
        gain = self.goals.reward(achieved, goal.expand_as(own)) - self.goals.reward(achieved, own)
        return torch.where(relabelled, gain, 0)

    @torch.no_grad()
    def read(self, windows: Windows) -> Batch:
        """Read the windows' observations and actions: (..., B) windows make batches of B."""
        before, after = (_rows(self._obs, which) for which in (windows.first, windows.next))
        if self._episodes is not None and self.goals is not None:
            before[..., self.goals.desired] = after[..., self.goals.desired] = windows.goal
        return Batch(
            obs=before,
            action=_rows(self._action, windows.first),
            reward=windows.reward,
            discount=windows.discount,
            terminated=windows.terminated,
            next_obs=after,
            invalid=windows.invalid,
            counted=(~windows.invalid).sum(-1).clamp_(min=1),
        )

    def gather(self, indices: Indices, n_step: int, gamma: float) -> Batch:
        """The batches of drawn transitions, (..., B): `read` of their `windows`."""
        return self.read(self.windows(indices, n_step, gamma))

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """What is stored now, in the order of age, to be written down while transitions are appended."""
        self._snapshots = [one for one in self._snapshots if not one.closed]
        self._snapshots.append(saving.snapshot(self._storage, self._head, self._filled))
        return self._snapshots[-1]

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy a snapshot's tensors into the existing storage, each row where it was; MisfitError: of other sizes."""
        self._head, self._filled = saving.load(self._storage, state)


def _rows(storage: Tensor, flat: Tensor) -> Tensor:
    """(T, N, X) storage at flat rows (..., B): (..., B, X)."""
    return storage.view(-1, storage.shape[-1]).index_select(0, flat.reshape(-1)).view(*flat.shape, -1)
