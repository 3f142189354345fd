"""Running statistics against NumPy on all the data at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mjxrl.networks.statistics import CLIP, EPSILON, RunningNorm


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
