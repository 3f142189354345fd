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

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mjxrl.worlds.worlds import StepResult

TERMINATED, TRUNCATED, VALID = 1, 2, 4  # bits of a transition's flags


class Batch(NamedTuple):
    """B transitions as the losses see them; with n-step returns, B windows of m <= n transitions."""

    obs: Tensor
    """(B, O) observation at the window's start."""
    action: Tensor
    """(B, A) action taken there, in [-1, 1]."""
    reward: Tensor
    """(B,) sum of gamma^i r_i over the window."""
    discount: Tensor
    """(B,) gamma^m, m being the window's own length; never in reduced precision (bf16 makes 0.988 of 0.99)."""
    terminated: Tensor
    """(B,) 1 where the window ended in termination, so that nothing follows; else 0."""
    next_obs: Tensor
    """(B, O) observation m steps later; after a truncation the true last one. Meaningless where terminated is 1."""
    valid: Tensor
    """(B,) 0 for transitions of quarantined worlds, which no loss may count; else 1."""


@dataclass(frozen=True)
class Indices:
    """Transitions drawn from the ring, of any leading shape: `indices[k]` are those of update k."""

    flat: Tensor
    """(..., B) int64, row * num_envs + world."""
    steps: Tensor
    """(..., B) int64, stored transitions of that world from this one to the newest, itself included: at least 1."""

    def __getitem__(self, k: int) -> Indices:
        return Indices(self.flat[k], self.steps[k])


class Windows(NamedTuple):
    """Where the windows that start at drawn transitions lead, without the observations. Any leading shape, so that one
    call serves all updates between two vectorized steps; the fields not described are those of `Batch`."""

    first: Tensor
    """(..., B) int64, flat row of the first observation."""
    next: Tensor
    """(..., B) int64, flat row of the next observation, in the ring or in the side region."""
    reward: Tensor
    discount: Tensor
    terminated: Tensor
    valid: Tensor

    def of_update(self, k: int) -> Windows:
        return Windows(*(tensor[k] for tensor in self))


def _layout(
    num_envs: int, obs_size: int, action_size: int, capacity: int, time_limit: int | None, dtype: torch.dtype
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    if min(num_envs, obs_size, action_size, capacity, time_limit or 1) < 1 or time_limit == 0:
        sizes = f"{num_envs=}, {obs_size=}, {action_size=}, {capacity=} transitions, {time_limit=} steps"
        raise ValueError(f"replay sizes must be positive: {sizes}")
    rows = math.ceil(capacity / num_envs) + 1
    side_rows = math.ceil(rows / time_limit) + 1 if time_limit is not None else 1
    slot = torch.uint8 if side_rows <= 256 else torch.int32
    return {
        "obs": ((rows + side_rows, num_envs, obs_size), dtype),
        "action": ((rows, num_envs, action_size), dtype),
        "reward": ((rows, num_envs), dtype),
        "flags": ((rows, num_envs), torch.uint8),
        "side": ((rows, num_envs), slot),
        "slot": ((num_envs,), slot),
    }


def replay_bytes(
    num_envs: int,
    obs_size: int,
    action_size: int,
    *,
    capacity: int,
    time_limit: int | None,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Bytes a `Replay` of these sizes takes on its device, exactly, without allocating it."""
    layout = _layout(num_envs, obs_size, action_size, capacity, time_limit, dtype)
    return sum(math.prod(shape) * kind.itemsize for shape, kind in layout.values())


class Replay:
    """Ring of transitions for `num_envs` worlds that step together.

    Args:
        num_envs, obs_size, action_size: worlds N and widths O, A of observations and actions.
        capacity: transitions in all; rounded up to whole rows of N.
        time_limit: least number of steps between two truncations of a world; None if no world is ever truncated.
        device: where everything lives and is sampled.
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
        dtype: torch.dtype = torch.float32,
    ) -> None:
        layout = _layout(num_envs, obs_size, action_size, capacity, time_limit, dtype)
        self._num_envs = num_envs
        self._device = torch.device(device)
        self._storage = {name: torch.zeros(s, dtype=kind, device=self._device) for name, (s, kind) in layout.items()}
        self._obs, self._action, self._reward, self._flags, self._side, self._slot = self._storage.values()
        self._rows = len(self._action)
        self._side_rows = len(self._obs) - self._rows
        self._worlds = torch.arange(num_envs, device=self._device)
        # Head and fill are the same in every world, so the host knows them without asking the device.
        self._head = 0
        self._filled = 0

    @property
    def capacity(self) -> int:
        """Transitions kept at most, all worlds together."""
        return (self._rows - 1) * self._num_envs

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

    @torch.no_grad()
    def restart(self, obs: Tensor) -> None:
        """The worlds begin new episodes with `obs`, (N, O), which takes the place of the newest next observations: the
        transitions to those, the newest ones, no longer count."""
        newest = self._flags[self._head - 1]
        newest.masked_fill_(newest & (TERMINATED | TRUNCATED) == 0, 0)
        self._obs[self._head].copy_(obs)

    @torch.no_grad()
    def append(self, action: Tensor, result: StepResult) -> None:
        """Store one vectorized step: `action`, (N, A) as executed, is clamped to [-1, 1]; of worlds that are not valid
        zeros are stored. Nothing waits for the device and no shape depends on data."""
        row, next_row, valid = self._head, (self._head + 1) % self._rows, result.valid
        flags = result.terminated * TERMINATED + result.truncated * TRUNCATED + VALID
        truncated = result.truncated & valid
        # where(), since the numbers of a quarantined world may be NaN
        action = torch.where(valid.unsqueeze(-1), action, 0)
        final_obs = torch.where(valid.unsqueeze(-1), result.final_obs, 0)
        self._action[row].copy_(action.clamp(-1, 1))
        self._reward[row].copy_(torch.where(valid, result.reward, 0))
        self._flags[row].copy_(torch.where(valid, flags, 0))
        self._side[row].copy_(self._slot)
        self._obs[next_row].copy_(result.obs)
        slots = (self._rows + self._slot.long()) * self._num_envs + self._worlds
        self._obs.view(-1, self._obs.shape[-1]).index_copy_(0, slots, final_obs.to(self._obs.dtype))
        self._slot.copy_((self._slot.long() + truncated) % self._side_rows)
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
        flat = (nth + oldest * self._num_envs) % (self._rows * self._num_envs)
        return Indices(flat, self._filled - nth // self._num_envs)

    @torch.no_grad()
    def windows(self, indices: Indices, n_step: int, gamma: float) -> Windows:
        """Resolve drawn transitions, of any leading shape, into windows of at most `n_step` steps: the small numbers.

        A window ends with its episode, before an invalid transition and at the newest stored transition, whichever
        comes first, and is discounted by its own length.
        """
        first = indices.flat
        num_transitions = self._rows * self._num_envs
        flags = self._flags.view(-1)
        reward = self._reward.view(-1)
        # Made in float64, used in float32 at least: never in reduced precision, whatever the storage is.
        powers = gamma ** torch.arange(n_step + 1, device=self._device, dtype=torch.float64)
        powers = powers.to(torch.promote_types(reward.dtype, torch.float32))
        first_flags = flags[first]
        if n_step == 1:
            last, last_flags = first, first_flags
            # contiguous, as in the buffers of captured updates: other strides would be compiled for once more
            summed, discount = reward[first].to(powers.dtype), powers[1].expand(first.shape).contiguous()
        else:
            steps = torch.arange(n_step, device=self._device).view(-1, *[1] * first.dim())
            window = (first + steps * self._num_envs) % num_transitions  # (n, ..., B)
            window_flags = flags[window]
            # A step goes on to the next one if it is valid, did not end its episode, and the next is stored and valid.
            goes_on = (window_flags[:-1] == VALID) & (window_flags[1:] >= VALID) & (steps[1:] < indices.steps)
            inside = torch.cat([torch.ones_like(goes_on[:1]), goes_on]).to(torch.uint8).cumprod(0)
            length = inside.sum(0)
            summed = (powers[:-1].view(steps.shape) * torch.where(inside > 0, reward[window], 0)).sum(0)
            discount = powers[length]
            last = (first + (length - 1) * self._num_envs) % num_transitions
            last_flags = flags[last]
        side = (self._rows + self._side.view(-1)[last].long()) * self._num_envs + last % self._num_envs
        was_truncated = (last_flags & (TRUNCATED | TERMINATED)) == TRUNCATED
        return Windows(
            first=first,
            next=torch.where(was_truncated, side, (last + self._num_envs) % num_transitions),
            reward=summed,
            discount=discount,
            terminated=(last_flags & TERMINATED != 0).to(powers.dtype),
            valid=(first_flags & VALID != 0).to(powers.dtype),
        )

    @torch.no_grad()
    def read(self, windows: Windows) -> Batch:
        """Read the windows' observations and actions, for one update: (B,) windows make a batch of B."""
        obs = self._obs.view(-1, self._obs.shape[-1])
        return Batch(
            obs=obs.index_select(0, windows.first),
            action=self._action.view(-1, self._action.shape[-1]).index_select(0, windows.first),
            reward=windows.reward,
            discount=windows.discount,
            terminated=windows.terminated,
            next_obs=obs.index_select(0, windows.next),
            valid=windows.valid,
        )

    def gather(self, indices: Indices, n_step: int, gamma: float) -> Batch:
        """The batch of drawn transitions, (B,): `read` of their `windows`."""
        return self.read(self.windows(indices, n_step, gamma))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything stored, as references to the live tensors (it may be most of the memory), and the cursor."""
        return {**self._storage, "head": torch.tensor(self._head), "filled": torch.tensor(self._filled)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy a saved state into the existing storage.

        Raises:
            ValueError: the state is of a replay of other sizes.
        """
        for name, tensor in self._storage.items():
            if name not in state or state[name].shape != tensor.shape:
                found = state[name].shape if name in state else "missing"
                raise ValueError(f"replay state does not fit: {name!r} is {found}, expected {tensor.shape}")
        for name, tensor in self._storage.items():
            tensor.copy_(state[name])
        self._head, self._filled = int(state["head"]), int(state["filled"])
