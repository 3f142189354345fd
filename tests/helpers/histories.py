"""A scripted run that remembers everything, beside what a replay makes of it."""

from __future__ import annotations

import numpy as np
import torch

from mjxrl.replay import Indices, Replay
from mjxrl.storage.snapshot import Snapshot
from mjxrl.worlds.worlds import StepResult

GAMMA = 0.99
ACTION_SIZE = 2


class History:
    """A scripted run of N worlds that remembers everything. An observation is (step, world, 0), a true last one
    (step, world, 1), so what comes back from the ring says where it came from."""

    def __init__(self, num_envs: int, steps: int, time_limit: int, seed: int, p_terminate=0.08, p_invalid=0.04) -> None:
        rng = np.random.default_rng(seed)
        shape = (steps, num_envs)
        self.num_envs, self.steps = num_envs, steps
        self.action = rng.uniform(-1, 1, (*shape, ACTION_SIZE)).astype(np.float32)
        self.reward = rng.normal(size=shape).astype(np.float32)
        self.valid = rng.random(shape) > p_invalid
        self.terminated = rng.random(shape) < p_terminate
        self.truncated = np.zeros(shape, bool)
        age = rng.integers(0, time_limit, num_envs)  # staggered first episodes
        for t in range(steps):
            age += 1
            self.truncated[t] = age >= time_limit
            age[self.truncated[t] | self.terminated[t] | ~self.valid[t]] = 0

    def obs(self, t: int) -> torch.Tensor:
        return torch.tensor([[t, n, 0] for n in range(self.num_envs)], dtype=torch.float32)

    def final_obs(self, t: int) -> torch.Tensor:
        done = self.terminated[t] | self.truncated[t] | ~self.valid[t]
        rows = [[t + 1, n, float(done[n])] for n in range(self.num_envs)]
        final = torch.tensor(rows, dtype=torch.float32)
        final[torch.tensor(~self.valid[t])] = torch.nan
        return final

    def result(self, t: int, dtype: torch.dtype = torch.float32) -> StepResult:
        valid = torch.tensor(self.valid[t])
        return StepResult(
            self.obs(t + 1).to(dtype),
            torch.where(valid, torch.tensor(self.reward[t]), torch.nan).to(dtype),
            torch.tensor(self.terminated[t]),
            torch.tensor(self.truncated[t]),
            self.final_obs(t).to(dtype),
            valid,
        )

    def append_to(self, replay: Replay, t: int) -> None:
        valid = torch.tensor(self.valid[t])
        replay.append(torch.where(valid[:, None], torch.tensor(self.action[t]), torch.nan), self.result(t))

    def window(self, t: int, n: int, n_step: int, newest: int):
        """(reward, m, terminated, next_obs or None, valid) of the window from step t of world n."""
        if not self.valid[t, n]:
            return 0.0, 1, 0.0, None, 0.0
        reward, m = 0.0, 0
        while True:
            s = t + m
            reward += GAMMA**m * float(self.reward[s, n])
            m += 1
            if self.terminated[s, n]:
                return reward, m, 1.0, None, 1.0
            if self.truncated[s, n]:
                return reward, m, 0.0, [s + 1, n, 1], 1.0
            if m == n_step or s == newest or not self.valid[s + 1, n]:
                return reward, m, 0.0, [s + 1, n, 0], 1.0


def everything(replay: Replay) -> Indices:
    """Indices that name every stored transition once, by the public draw alone."""
    drawn = replay.draw(1, 40 * replay.size, torch.Generator().manual_seed(0))[0]
    flat, first = np.unique(drawn.flat.numpy(), return_index=True)
    return Indices(torch.tensor(flat), drawn.steps[torch.tensor(first)])


def saved(replay: Replay) -> dict[str, torch.Tensor]:
    """What a checkpoint would hold of a replay, and what `load_state_dict` takes."""
    return content(replay.snapshot())


def content(snapshot: Snapshot) -> dict[str, torch.Tensor]:
    """All that a snapshot gives, read now."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in snapshot.tensors.items():
        if isinstance(tensor, torch.Tensor):
            tensors[name] = tensor
        else:
            empty = torch.empty(0, *tensor.shape[1:], dtype=tensor.dtype)
            tensors[name] = torch.cat([empty, *(piece.clone() for piece in tensor.pieces)])
    return tensors
