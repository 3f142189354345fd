"""Relabelled samples against a reader that remembers the whole history."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mjxrl.replay import Replay
from mjxrl.worlds.worlds import Goals
from tests.helpers.histories import ACTION_SIZE, GAMMA, History, everything, saved

SHARE = 0.8


def worth(achieved: torch.Tensor, desired: torch.Tensor) -> torch.Tensor:
    """-1 further than 3 away, as tasks with sparse goals have it."""
    return -((achieved - desired).square().sum(-1).sqrt() > 3).float()


GOALS = Goals(achieved=slice(3, 5), desired=slice(5, 7), threshold=3, reward=worth)


class GoalHistory(History):
    """An observation is (step, world, whether it is a last one), what is achieved there, and the episode's goal."""

    def __init__(self, num_envs: int, steps: int, time_limit: int, seed: int, p_invalid: float) -> None:
        super().__init__(num_envs, steps, time_limit, seed, p_terminate=0, p_invalid=p_invalid)
        self.ends = self.truncated | ~self.valid
        self.goal = torch.zeros(steps + 1, num_envs, 2)
        generator = torch.Generator().manual_seed(seed)
        for t in range(steps + 1):
            fresh = torch.rand(num_envs, 2, generator=generator) * steps
            begins = torch.tensor(self.ends[t - 1]) if t else torch.ones(num_envs, dtype=torch.bool)
            self.goal[t] = torch.where(begins[:, None], fresh, self.goal[t - 1])
        for t in range(steps):
            self.reward[t] += worth(self.achieved(self.final_obs(t)), self.goal[t]).numpy()

    def achieved(self, where: torch.Tensor) -> torch.Tensor:
        """What is achieved at observations (…, 3): two numbers that no other observation has."""
        step, world, last = where[..., 0], where[..., 1], where[..., 2]
        return torch.stack([step + 0.4 * last, step + 0.01 * world], -1)

    def obs(self, t: int) -> torch.Tensor:
        plain = super().obs(t)
        return torch.cat([plain, self.achieved(plain), self.goal[t]], 1)

    def final_obs(self, t: int) -> torch.Tensor:
        plain = super().final_obs(t)[:, :3]
        return torch.cat([plain, self.achieved(plain), self.goal[t]], 1)

    def after(self, t: int, n: int) -> torch.Tensor:
        """What was achieved after the transition from step t of world n."""
        return self.achieved(torch.tensor([t + 1.0, n, float(self.ends[t, n])]))

    def hindsight(self, t: int, n: int, luck: float, newest: int) -> torch.Tensor:
        """The goal that `luck` gives the transition from step t of world n."""
        if luck >= SHARE:
            return self.goal[t, n]
        last = t
        while last < newest and not self.ends[last, n] and self.valid[last + 1, n]:
            last += 1
        return self.after(t + int(luck / SHARE * (last - t + 1)), n)


def filled(history: History, rows: int, time_limit: int) -> Replay:
    sizes = history.num_envs, 7, ACTION_SIZE
    replay = Replay(
        *sizes, capacity=rows * sizes[0], time_limit=time_limit, device="cpu", goals=GOALS, relabelled=SHARE
    )
    replay.start(history.obs(0))
    return replay


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize(("rows", "p_invalid"), [(60, 0.0), (17, 0.0), (17, 0.03)])
def test_equals_a_brute_force_reader(rows: int, p_invalid: float, n_step: int) -> None:
    """Goal, reward and both observations: over the ring's end, at episode ends, in open episodes, with invalid rows.

    Breakdowns may push an episode out of the table, after which it has no end; so few of them do not.
    """
    history, checked = GoalHistory(4, 40, time_limit=7, seed=rows + n_step, p_invalid=p_invalid), 0
    replay = filled(history, rows, time_limit=7)
    for t in range(history.steps):
        history.append_to(replay, t)
        if t % 9:
            continue
        indices = everything(replay)
        luck = torch.rand(indices.flat.shape, generator=torch.Generator().manual_seed(t))
        indices = replace(indices, luck=luck)
        windows = replay.windows(indices, n_step, GAMMA)
        batch = replay.read(windows)
        for i in range(len(luck)):
            step, world = int(batch.obs[i, 0]), int(batch.obs[i, 1])
            plain, length, _, after, valid = history.window(step, world, n_step, newest=t)
            assert batch.invalid[i] != valid
            if not valid:
                continue
            goal = history.hindsight(step, world, luck[i].item(), newest=t)
            for observation in (batch.obs[i], batch.next_obs[i]):
                torch.testing.assert_close(observation[5:], goal)
            reached = torch.stack([history.after(s, world) for s in range(step, step + length)])
            own = history.goal[step, world].expand(length, 2)
            gain = (GAMMA ** torch.arange(length)) @ (worth(reached, goal.expand(length, 2)) - worth(reached, own))
            assert batch.reward[i].item() == pytest.approx(plain + gain.item(), abs=1e-5)
            assert batch.next_obs[i, :3].tolist() == after
            checked += luck[i].item() < SHARE
    assert checked > 100


def test_the_share_is_kept_and_every_later_goal_is_as_likely() -> None:
    history = GoalHistory(1, 9, time_limit=9, seed=0, p_invalid=0)
    replay = filled(history, 20, time_limit=9)
    for t in range(9):
        history.append_to(replay, t)
    drawn = replay.draw(1, 60_000, torch.Generator().manual_seed(0))
    batch = replay.read(replay.windows(drawn[0], 1, GAMMA))
    first = batch.obs[:, 0] == 0
    own = (batch.obs[first, 5:] == history.goal[0, 0]).all(1)
    assert own.float().mean().item() == pytest.approx(1 - SHARE, abs=0.02)
    _, counts = batch.obs[first][~own][:, 5].unique(return_counts=True)
    length = int(history.ends[:, 0].argmax()) + 1  # first episodes are shorter than the limit
    assert len(counts) == length and (counts / counts.sum() - 1 / length).abs().max() < 0.02


def test_an_episode_that_was_pushed_out_of_the_table_is_not_mistaken_for_another() -> None:
    """Breakdowns end episodes at every step: the table's slots are used again while old transitions are in the ring."""
    history = GoalHistory(2, 60, time_limit=30, seed=1, p_invalid=0.4)
    replay = filled(history, 50, time_limit=30)
    for t in range(history.steps):
        history.append_to(replay, t)
    indices = everything(replay)
    batch = replay.read(replay.windows(replace(indices, luck=torch.full(indices.flat.shape, 0.79)), 1, GAMMA))
    for i in torch.nonzero(~batch.invalid)[:, 0].tolist():
        step, world = int(batch.obs[i, 0]), int(batch.obs[i, 1])
        allowed = [history.after(step, world), history.hindsight(step, world, 0.79, newest=history.steps - 1)]
        assert any(torch.allclose(batch.obs[i, 5:], goal) for goal in allowed)


def test_worlds_that_begin_anew_end_their_episodes() -> None:
    history = GoalHistory(3, 8, time_limit=100, seed=2, p_invalid=0)
    replay = filled(history, 30, time_limit=100)
    for t in range(4):
        history.append_to(replay, t)
    replay.restart(history.obs(4))  # takes the last transition with it
    for t in range(4, 8):
        history.append_to(replay, t)
    indices = everything(replay)
    batch = replay.read(replay.windows(replace(indices, luck=torch.full(indices.flat.shape, 0.79)), 1, GAMMA))
    early = (batch.obs[:, 0] < 3) & ~batch.invalid
    assert early.sum() == 9 and (batch.obs[early, 5] <= 3).all()


def test_state_goes_on_identically() -> None:
    history = GoalHistory(4, 30, time_limit=7, seed=3, p_invalid=0.05)
    replay, other = (filled(history, 17, time_limit=7) for _ in range(2))
    for t in range(20):
        history.append_to(replay, t)
    other.load_state_dict(saved(replay))
    batches = []
    for each in (replay, other):
        for t in range(20, 30):
            history.append_to(each, t)
        drawn = each.draw(1, 200, torch.Generator().manual_seed(1))[0]
        batches.append(each.gather(drawn, 3, GAMMA))
    for one, two in zip(*batches, strict=True):
        assert torch.equal(one, two)
