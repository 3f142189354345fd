"""The replay ring against a brute-force reader of the whole history."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mjxrl.replay import Batch, Replay, Windows, replay_bytes
from mjxrl.worlds.worlds import StepResult
from tests.helpers.histories import ACTION_SIZE, GAMMA, History, everything, saved


def check(batch: Batch, history: History, n_step: int, newest: int, oldest: int) -> set[tuple[int, int]]:
    seen = set()
    for i in range(batch.obs.shape[0]):
        t, n, is_final = (int(x) for x in batch.obs[i])
        assert is_final == 0 and oldest <= t <= newest
        seen.add((t, n))
        reward, m, terminated, next_obs, valid = history.window(t, n, n_step, newest)
        assert batch.invalid[i] != valid, (t, n)
        assert batch.discount[i].item() == np.float32(GAMMA**m), (t, n)
        assert batch.reward[i].item() == pytest.approx(reward, abs=1e-5), (t, n)
        assert batch.terminated[i] == terminated, (t, n)
        if next_obs is not None:
            assert batch.next_obs[i].tolist() == next_obs, (t, n)
        if valid:
            assert batch.action[i].tolist() == history.action[t, n].tolist()
        else:
            assert batch.action[i].tolist() == [0, 0]
    return seen


@pytest.mark.parametrize("n_step", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("num_envs", "rows", "time_limit"), [(3, 10, 4), (2, 12, 12), (4, 7, 40), (1, 20, 1), (3, 15, 7), (2, 9, 3)]
)
def test_windows_equal_brute_force(num_envs, rows, time_limit, n_step):
    steps = 4 * rows + 3  # the ring wraps several times
    history = History(num_envs, steps, time_limit, seed=rows)
    capacity = num_envs * rows
    replay = Replay(num_envs, 3, ACTION_SIZE, capacity=capacity, time_limit=time_limit, device="cpu")
    replay.start(history.obs(0))
    assert replay.capacity == capacity and replay.size == 0
    for t in range(steps):
        history.append_to(replay, t)
        assert replay.size == min(t + 1, rows) * num_envs
        if t % 3 == 0 or t > steps - 4:
            oldest = max(0, t + 1 - rows)
            seen = check(replay.gather(everything(replay), n_step, GAMMA), history, n_step, t, oldest)
            assert seen == {(s, n) for s in range(oldest, t + 1) for n in range(num_envs)}


def test_true_last_observation_survives_as_long_as_its_transition():
    """No terminations: truncations come as densely as the limit allows, the hardest case for the side region."""
    for time_limit in (1, 2, 3, 5, 8):
        for rows in (4, 8, 9, 16):
            history = History(2, 5 * rows, time_limit, seed=0, p_terminate=0, p_invalid=0)
            replay = Replay(2, 3, ACTION_SIZE, capacity=2 * rows, time_limit=time_limit, device="cpu")
            replay.start(history.obs(0))
            for t in range(history.steps):
                history.append_to(replay, t)
                check(replay.gather(everything(replay), 1, GAMMA), history, 1, t, max(0, t + 1 - rows))


def test_quarantined_worlds_do_not_use_up_side_rows():
    """A world that diverges at every step may report anything as truncated; only true time limits take a slot."""
    replay = Replay(1, 1, 1, capacity=8, time_limit=8, device="cpu")
    yes, no = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    replay.start(torch.zeros(1, 1))
    zero = torch.zeros(1, 1)
    replay.append(zero, StepResult(zero, torch.ones(1), no, yes, torch.full((1, 1), 42.0)))
    for _ in range(7):
        replay.append(zero, StepResult(zero, torch.ones(1), no, yes, torch.full((1, 1), torch.nan), valid=no))
    batch = replay.gather(everything(replay), 1, GAMMA)
    assert batch.next_obs[~batch.invalid].tolist() == [[42.0]]


def test_draws_are_uniform_and_come_in_one_call():
    history = History(3, 25, 6, seed=1)
    replay = Replay(3, 3, ACTION_SIZE, capacity=30, time_limit=6, device="cpu")
    replay.start(history.obs(0))
    for t in range(25):
        history.append_to(replay, t)
    indices = replay.draw(50, 1200, torch.Generator().manual_seed(3))
    assert indices.flat.shape == indices.steps.shape == (50, 1200)
    counts = np.unique(indices.flat.numpy(), return_counts=True)[1]
    assert len(counts) == 30
    expected = 60_000 / 30
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 58.3  # 0.999 quantile for 29 degrees of freedom
    again = replay.draw(50, 1200, torch.Generator().manual_seed(3))
    assert torch.equal(indices.flat, again.flat) and torch.equal(indices.steps, again.steps)


@pytest.mark.parametrize("n_step", [1, 3])
def test_windows_of_many_updates_at_once_equal_one_by_one(n_step):
    history = History(3, 25, 6, seed=1)
    replay = Replay(3, 3, ACTION_SIZE, capacity=30, time_limit=6, device="cpu")
    replay.start(history.obs(0))
    for t in range(25):
        history.append_to(replay, t)
    indices = replay.draw(4, 20, torch.Generator().manual_seed(3))
    windows = replay.windows(indices, n_step, GAMMA)
    for k in range(4):
        together, alone = (
            replay.read(Windows._make(tensor[k] for tensor in windows)),
            replay.gather(indices[k], n_step, GAMMA),
        )
        assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_draw_before_the_first_append_is_refused():
    replay = Replay(2, 3, 1, capacity=8, time_limit=4, device="cpu")
    with pytest.raises(ValueError, match="empty"):
        replay.draw(1, 4, None)


def test_start_empties_the_ring():
    history = History(2, 5, 4, seed=0)
    replay = Replay(2, 3, ACTION_SIZE, capacity=8, time_limit=4, device="cpu")
    replay.start(history.obs(0))
    history.append_to(replay, 0)
    replay.start(history.obs(0))
    assert replay.size == 0


def test_actions_are_clamped_before_they_are_stored():
    replay = Replay(1, 1, 2, capacity=4, time_limit=None, device="cpu")
    no, obs = torch.zeros(1, dtype=torch.bool), torch.zeros(1, 1)
    replay.start(obs)
    replay.append(torch.tensor([[1.7, -2.0]]), StepResult(obs, torch.ones(1), no, no, obs))
    assert replay.gather(replay.draw(1, 1, None)[0], 1, 0.9).action.tolist() == [[1.0, -1.0]]


def test_discount_is_not_rounded():
    """bf16 would make 0.988 of 0.99."""
    replay = Replay(1, 1, 1, capacity=4, time_limit=None, device="cpu", dtype=torch.bfloat16)
    no, obs = torch.zeros(1, dtype=torch.bool), torch.zeros(1, 1)
    replay.start(obs)
    for _ in range(3):
        replay.append(torch.zeros(1, 1), StepResult(obs, torch.ones(1), no, no, obs))
    for n_step in (1, 3):
        batch = replay.gather(replay.draw(1, 64, torch.Generator().manual_seed(0))[0], n_step, 0.99)
        assert batch.discount.dtype == batch.reward.dtype == torch.float32
        assert batch.discount.max().item() == np.float32(0.99)
        assert batch.reward.max().item() == pytest.approx(sum(0.99**i for i in range(n_step)), rel=1e-6)


def test_storage_never_moves_and_never_grows():
    history = History(2, 30, 5, seed=2)
    replay = Replay(2, 3, ACTION_SIZE, capacity=16, time_limit=5, device="cpu")
    replay.start(history.obs(0))
    before = {name: tensor.data_ptr() for name, tensor in replay._storage.items()}
    for t in range(30):
        history.append_to(replay, t)
    replay.load_state_dict(saved(replay))
    assert before == {name: tensor.data_ptr() for name, tensor in replay._storage.items()}


def test_state_round_trip_continues_identically():
    history = History(3, 40, 6, seed=5)
    one, two = (Replay(3, 3, ACTION_SIZE, capacity=30, time_limit=6, device="cpu") for _ in range(2))
    one.start(history.obs(0))
    for t in range(23):
        history.append_to(one, t)
    two.load_state_dict(saved(one))
    for t in range(23, 40):
        history.append_to(one, t)
        history.append_to(two, t)
    assert all(torch.equal(a, b) for a, b in zip(saved(one).values(), saved(two).values(), strict=True))
    batches = [r.gather(r.draw(1, 64, torch.Generator().manual_seed(0))[0], 3, GAMMA) for r in (one, two)]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_state_of_another_size_is_refused():
    small, large = (Replay(2, 3, 1, capacity=c, time_limit=4, device="cpu") for c in (8, 16))
    with pytest.raises(ValueError, match="rows"):
        large.load_state_dict(saved(small))
    with pytest.raises(ValueError, match="'obs' is"):
        Replay(2, 4, 1, capacity=8, time_limit=4, device="cpu").load_state_dict(saved(small))


@pytest.mark.parametrize(("obs_size", "action_size"), [(105, 8), (348, 17)])
def test_bytes(obs_size, action_size):
    """Ant and Humanoid at 1000 rows and a limit of 1000: little more than one copy of the observations."""
    num_envs, rows = 4, 1000
    replay = Replay(num_envs, obs_size, action_size, capacity=num_envs * rows, time_limit=1000, device="cpu")
    total = replay_bytes(num_envs, obs_size, action_size, capacity=num_envs * rows, time_limit=1000)
    assert replay.nbytes == total
    observations = replay._obs.nbytes
    assert observations <= 0.52 * 2 * obs_size * 4 * num_envs * rows
    classic = (2 * obs_size * 4 + action_size * 4 + 4 + 2) * num_envs * rows
    assert total <= 0.55 * classic


def test_capacity_counts_transitions_and_is_rounded_up_to_rows():
    replay = Replay(64, 3, 1, capacity=1000, time_limit=100, device="cpu")
    assert replay.capacity == math.ceil(1000 / 64) * 64


def test_many_side_rows_fit_their_counter():
    """300 rows at a limit of 1 need more slots than a byte counts."""
    history = History(1, 650, 1, seed=0, p_terminate=0, p_invalid=0)
    replay = Replay(1, 3, ACTION_SIZE, capacity=300, time_limit=1, device="cpu")
    replay.start(history.obs(0))
    for t in range(650):
        history.append_to(replay, t)
    check(replay.gather(everything(replay), 2, GAMMA), history, 2, 649, 350)


@pytest.mark.parametrize("sizes", [{"num_envs": 0}, {"capacity": 0}, {"time_limit": 0}])
def test_sizes_that_make_no_sense_are_refused(sizes):
    arguments = {"num_envs": 2, "obs_size": 3, "action_size": 1, "capacity": 8, "time_limit": 4} | sizes
    with pytest.raises(ValueError, match="positive"):
        Replay(**arguments, device="cpu")
