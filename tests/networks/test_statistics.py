"""Running statistics against NumPy on all the data at once, and what an explosion or a change of scale does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mjxrl.networks.statistics import CLIP, EPISODES, EPSILON, LARGER, RETURN_LIMIT, ReturnScale, RunningNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_numpy_on_the_concatenation(dtype):
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, (size, 4)) * [1, 10, 0.1, 0] + [0, 1000, 0, 7] for size in (1, 64, 7, 500)]
    norm = RunningNorm(4, "cpu", dtype)
    for batch in batches:
        norm.update(torch.tensor(batch, dtype=dtype))
    data = np.concatenate(batches)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    np.testing.assert_allclose(norm.mean.numpy(), data.mean(0), rtol=tolerance)
    np.testing.assert_allclose(norm.var.numpy(), data.var(0), rtol=tolerance, atol=tolerance)
    assert norm.count.item() == len(data)
    expected = np.clip((batches[1] - data.mean(0)) / (data.std(0) + EPSILON), -CLIP, CLIP)
    got = norm.normalize(torch.tensor(batches[1], dtype=dtype)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=0 if dtype == torch.float64 else 1e-3)


def test_stays_exact_over_many_small_batches_far_from_zero():
    """Sums of squares in float32 would have lost the variance altogether."""
    rng = np.random.default_rng(1)
    data = (rng.normal(size=(20_000, 2)) + 5000).astype(np.float32)
    norm = RunningNorm(2, "cpu")
    for batch in np.split(data, 2000):
        norm.update(torch.tensor(batch))
    np.testing.assert_allclose(norm.var.numpy(), data.astype(np.float64).var(0), rtol=2e-2)


def test_masked_rows_do_not_count_whatever_they_contain():
    rng = np.random.default_rng(2)
    data = torch.tensor(rng.normal(size=(32, 3)), dtype=torch.float64)
    mask = torch.tensor(rng.random(32) > 0.3)
    poisoned = data.clone()
    poisoned[~mask] = torch.nan
    poisoned[torch.nonzero(~mask)[0, 0]] = torch.inf
    norm = RunningNorm(3, "cpu", torch.float64)
    norm.update(poisoned, mask)
    np.testing.assert_allclose(norm.mean.numpy(), data[mask].numpy().mean(0))
    np.testing.assert_allclose(norm.var.numpy(), data[mask].numpy().var(0))
    before = norm.state_dict()
    norm.update(poisoned, torch.zeros(32, dtype=torch.bool))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_counter_does_not_stand_still():
    norm = RunningNorm(1, "cpu")
    norm.count.fill_(2.0**24)
    norm.update(torch.zeros(1, 1))
    assert norm.count.item() == 2**24 + 1


def test_constant_inputs_are_clipped_not_exploded():
    norm = RunningNorm(1, "cpu")
    norm.update(torch.full((100, 1), 2.0))
    assert norm.normalize(torch.tensor([[2.0]])).item() == 0
    assert norm.normalize(torch.tensor([[1e6]])).item() == CLIP


def test_disabled_is_the_identity_without_state():
    norm = RunningNorm(2, "cpu", enabled=False)
    x = torch.randn(5, 2) * 100
    norm.update(x)
    assert norm.normalize(x) is x
    assert norm.state_dict() == {}


def test_state_is_copied_in():
    one, two = RunningNorm(2, "cpu"), RunningNorm(2, "cpu")
    one.update(torch.randn(50, 2) * 3 + 1)
    address = two.mean.data_ptr()
    two.load_state_dict(one.state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(one.normalize(x), two.normalize(x)) and two.mean.data_ptr() == address
    two.update(torch.randn(50, 2))
    assert not torch.equal(one.mean, two.mean)


def after(frames: int, worlds: int = 32_768, std: float = 1.0) -> RunningNorm:
    """Statistics of one input that has been normal with mean 0 for so many frames."""
    norm, g = RunningNorm(1, "cpu"), torch.Generator().manual_seed(0)
    for _ in range(frames // worlds):
        norm.update(torch.randn(worlds, 1, generator=g) * std)
    return norm


def test_one_explosion_does_not_blind_an_input():
    norm = after(5_000_000)
    frames = torch.zeros(64, 1)
    frames[3] = 1e7
    norm.update(frames)
    assert norm.var.sqrt().item() == pytest.approx(1, rel=0.01)
    assert norm.mean.item() == pytest.approx(0, abs=0.01)


def test_explosions_now_and_then_do_not_either():
    """One frame in 2000, without end."""
    norm, g = after(1_000_000), torch.Generator().manual_seed(1)
    for _ in range(500):
        frames = torch.randn(2000, 1, generator=g)
        frames[0] = 1e7
        norm.update(frames)
    assert norm.var.sqrt().item() < 2


def test_without_a_history_nothing_is_an_outlier():
    """The first frames after a reset lie close together, and what follows is far from them."""
    norm = RunningNorm(1, "cpu", torch.float64)
    data = np.concatenate([np.full(64, 1e-3), np.linspace(-300, 300, 64)])
    for batch in np.split(data, 2):
        norm.update(torch.tensor(batch[:, None]))
    assert norm.var.item() == pytest.approx(data.var())


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_distribution_that_moves_is_followed(first):
    """A hundred times as wide at once, from a constant too: a tenth more frames, and the deviation is the right one."""
    norm, g = after(2_000_000, std=first), torch.Generator().manual_seed(1)
    old = int(norm.count.item())
    for _ in range(200_000 // 64):
        norm.update(50 + 100 * torch.randn(64, 1, generator=g))
    share = 200_000 / (old + 200_000)
    variance = (1 - share) * first**2 + share * 100**2 + share * (1 - share) * 50**2
    assert norm.var.sqrt().item() == pytest.approx(variance**0.5, rel=0.1)


def test_a_distribution_that_grows_with_the_policy_is_followed_as_it_grows():
    norm, plain, g = after(1_000_000), [0.0, 1.0, 1e6], torch.Generator().manual_seed(1)
    for step in range(2000):
        frames = (1 + step / 20) * torch.randn(512, 1, generator=g)
        norm.update(frames)
        plain = [plain[0] + frames.sum().item(), plain[1] + frames.square().sum().item(), plain[2] + 512]
    wanted = (plain[1] + 1e6) / plain[2] - (plain[0] / plain[2]) ** 2
    assert norm.var.item() == pytest.approx(wanted, rel=0.01)


def test_a_rare_input_is_no_outlier():
    """One frame in 300 is 1000, the others 0: its deviation is 1000 sqrt(p (1 - p))."""
    norm = RunningNorm(1, "cpu")
    for step in range(4000):
        frames = torch.zeros(60, 1)
        frames[0] = 1000.0 * (step % 5 == 0)
        norm.update(frames)
    assert norm.var.sqrt().item() == pytest.approx(1000 * (299 / 300**2) ** 0.5, rel=0.05)


GAMMA, WINDOW, LENGTH = 0.8, 250, 50  # vector steps of the replay, and of an episode


def scale_of(worlds: int) -> ReturnScale:
    return ReturnScale(worlds, GAMMA, WINDOW, "cpu")


def observed(scale: ReturnScale, steps: int, reward: float, worlds: int = 64, world_0: float | None = None) -> float:
    """The factor after so many steps of this reward, which one world may have for itself."""
    valid, rewards = torch.ones(worlds, dtype=torch.bool), torch.full((worlds,), reward)
    rewards[0] = reward if world_0 is None else world_0
    for step in range(1, steps + 1):
        scale.update(rewards, valid if step % LENGTH == 0 else ~valid, valid)
    assert scale.factor is not None
    return scale.factor.item()


def largest_return(reward: float) -> float:
    return abs(reward) * (1 - GAMMA**LENGTH) / (1 - GAMMA)


@pytest.mark.parametrize("length", [1, LENGTH])
def test_an_explosion_halves_the_scale_at_most_and_is_forgotten(length):
    """After 5 million transitions; for one step, and for the whole of an episode."""
    scale = scale_of(4096)
    before = observed(scale, 1250, 1.0, 4096)
    assert before * largest_return(1.0) == pytest.approx(RETURN_LIMIT)
    hit = observed(scale, length, 1.0, 4096, world_0=1e6)
    assert hit >= before / LARGER * 0.999
    batch = torch.tensor([1e6, -1e6, 1.0])
    torch.testing.assert_close(scale.scale(batch), torch.tensor([LARGER * RETURN_LIMIT, -LARGER * RETURN_LIMIT, hit]))
    assert observed(scale, 2 * WINDOW, 1.0, 4096) == pytest.approx(before, rel=0.01)


@pytest.mark.parametrize("levels", [[1.5**k for k in range(12)], [1, 100]])
def test_returns_that_grow_take_the_scale_along(levels):
    """As the policy learns, or at once: seven episodes double it seven times, and 2^7 > 100."""
    scale = scale_of(64)
    observed(scale, EPISODES + LENGTH, 1.0)
    for level in levels:
        factor = observed(scale, (7 if level == 100 else 1) * LENGTH, float(level))
        assert 2 < factor * largest_return(level) < RETURN_LIMIT * 1.01


def test_the_first_episodes_bound_nothing():
    scale = scale_of(64)
    observed(scale, LENGTH, 1.0)
    assert observed(scale, LENGTH, 1000.0) * largest_return(1000.0) < RETURN_LIMIT * 1.01


def test_a_first_reward_sets_the_scale_however_late():
    scale = scale_of(64)
    assert observed(scale, EPISODES + LENGTH, 0.0) == 1
    assert observed(scale, 1, 1000.0) == pytest.approx(RETURN_LIMIT / 1000)


def test_episodes_without_end_may_grow_with_every_window():
    scale, one = scale_of(1), torch.ones(1, dtype=torch.bool)
    for step in range(EPISODES + 8 * WINDOW):
        scale.update(torch.tensor([1.0 if step < EPISODES else 100.0]), one if step == EPISODES else ~one, one)
    assert scale.factor is not None and scale.factor.item() * 500 < RETURN_LIMIT * 1.01


def test_the_scale_goes_on_bit_for_bit():
    one, two = (scale_of(8) for _ in range(2))
    observed(one, EPISODES + 130, 1.0, 8)
    two.load_state_dict(one.state_dict())
    for scale in (one, two):
        observed(scale, 2 * WINDOW + 7, 3.0, 8, world_0=1e3)
    state, other = one.state_dict(), two.state_dict()
    assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)
    assert one.factor == two.factor
