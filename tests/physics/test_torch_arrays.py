"""numpy's names on torch: every one means what it means on numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.physics.torch_arrays import TorchArrays, TorchNamespace

X = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(4, 3, 5)).astype(np.float32)
MASK, TABLE = X > 0, np.arange(15.0).reshape(3, 5)  # float64, as a task's own arrays are

CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "numbers among arrays": lambda xp, x, y: xp.maximum(xp.minimum(x, 0.5), -0.25) + xp.hypot(y, 2) + xp.arctan2(y, x),
    "numbers alone": lambda xp, x, y: xp.where(x > y, -1.0, 0.0) + xp.abs(-2.5) + xp.power(2.0, 3),
    "constants of the host": lambda xp, x, y: (xp.asarray(TABLE) + x * xp.asarray(TABLE[0])) @ xp.asarray(TABLE.T),
    "elements": lambda xp, x, y: xp.sqrt(xp.square(x)) + xp.exp(-xp.abs(y)) + xp.sign(x) * xp.floor(y) + xp.round(x),
    "remainders": lambda xp, x, y: xp.mod(x, 0.3) + xp.remainder(-x, 0.7) + (x + xp.pi) % (2 * xp.pi),
    "equality": lambda xp, x, y: xp.equal(xp.sign(x), xp.sign(y)),
    "logic": lambda xp, x, y: xp.logical_or(x > 0, ~xp.logical_and(y > 0, xp.isfinite(x))) & True,
    "clip": lambda xp, x, y: xp.clip(x, -0.5, xp.inf) + xp.clip(y, xp.asarray(-TABLE), 0.5),
    "max": lambda xp, x, y: xp.max(x, axis=1) + xp.amin(y, axis=1) - xp.min(x) * xp.max(y),
    "sums": lambda xp, x, y: xp.sum(x, axis=(1, 2)) + xp.mean(y) + xp.mean(x, axis=1, keepdims=True)[:, 0, 0],
    "spread": lambda xp, x, y: xp.std(x, axis=1) + xp.var(x, axis=1) + xp.std(y),
    "any, all": lambda xp, x, y: xp.any(x > 1, axis=2) | xp.all(y > -1, axis=2) | xp.any(x > 9),
    "argmax of bool": lambda xp, x, y: xp.argmax(x > 0.5, axis=1) + xp.argmin(x > 0, axis=1) + xp.argmax(x, axis=1),
    "dtypes": lambda xp, x, y: xp.astype(x * 4, xp.int32) + xp.zeros(5, int) + xp.ones((3, 1), bool),
    "like": lambda xp, x, y: xp.zeros_like(x) + xp.ones_like(y) + xp.full((4, 3, 1), 7) + xp.arange(5),
    "as bool": lambda xp, x, y: xp.asarray(xp.astype(x > 0, xp.int32), bool) & xp.asarray(1, bool),
    "side by side": lambda xp, x, y: xp.concatenate([x, y, xp.stack([x[..., 0], y[..., 1]], axis=-1)], axis=2),
    "shapes": lambda xp, x, y: xp.reshape(xp.swapaxes(xp.transpose(x, (2, 0, 1)), 0, 2), (5, -1)),
    "new axes": lambda xp, x, y: xp.squeeze(xp.expand_dims(x, 1), 1) + x[:, :, xp.newaxis][:, :, 0],
    "copies": lambda xp, x, y: xp.tile(xp.asarray(TABLE), (4, 1, 1)) + xp.broadcast_to(xp.asarray(TABLE[0]), (4, 3, 5)),
    "repeat": lambda xp, x, y: xp.repeat(x, 2, axis=1),
    "order": lambda xp, x, y: xp.flip(x, axis=1) + xp.roll(y, 2, axis=2) + xp.cumsum(x, axis=1),
    "take": lambda xp, x, y: xp.take_along_axis(x, xp.argmax(y, axis=1)[:, None], axis=1),
    "pick": lambda xp, x, y: x[xp.arange(4), xp.argmax(y[:, :, 0], axis=1)],
    "norm": lambda xp, x, y: xp.linalg.norm(x, axis=-1) + xp.linalg.norm(y, axis=2, keepdims=True)[..., 0],
    "products": lambda xp, x, y: xp.einsum("nij,nkj->nik", x, y) + xp.matmul(x, xp.swapaxes(y, 1, 2)),
    "cross": lambda xp, x, y: xp.cross(x[..., :3], y[..., 2:]),
}


@pytest.mark.parametrize("name", CALLS)
def test_means_what_it_means_on_numpy(name: str) -> None:
    expected = CALLS[name](np, X, Y)
    found = CALLS[name](TorchNamespace(torch.device("cpu")), torch.tensor(X), torch.tensor(Y))
    assert found.shape == expected.shape and found.dtype != torch.float64
    assert found.dtype.is_floating_point == (expected.dtype.kind == "f")
    assert (found.dtype == torch.bool) == (expected.dtype == bool)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_constant_is_put_on_the_device_once() -> None:
    xp = TorchNamespace(torch.device("cpu"))
    first = xp.asarray(TABLE)
    assert first.dtype == torch.float32 and xp.asarray(TABLE.copy()) is first and xp.asarray(first) is first
    assert xp.asarray(TABLE + 1) is not first
    assert xp.asarray(np.zeros(2)) is not xp.asarray(np.zeros(2, bool))
    assert xp.asarray([1.5, 2]).tolist() == [1.5, 2] and xp.asarray(True).dtype == torch.bool
    TABLE[0, 0] += 1  # a copy: what the host does later is nothing to it
    assert first[0, 0] == 0
    TABLE[0, 0] -= 1


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match=r"^xp\.gradient is not among the names that tasks have on torch$"):
        TorchNamespace(torch.device("cpu")).gradient  # noqa: B018


def test_draws_are_of_their_distribution_and_seed() -> None:
    class Worlds(TorchArrays):
        num_envs, xp = 4000, TorchNamespace(torch.device("cpu"))

    def draw(seed: int) -> dict[str, torch.Tensor]:
        spec: Any = {"u": ("uniform", 3), "n": ("normal", 2)}
        return Worlds().draw(torch.Generator().manual_seed(seed), spec)[1]

    first = draw(0)
    assert first["u"].shape == (4000, 3) and first["n"].shape == (4000, 2)
    assert -1 <= first["u"].min() < -0.99 and 0.99 < first["u"].max() < 1 and abs(first["u"].mean()) < 0.05
    assert abs(first["n"].mean()) < 0.05 and abs(first["n"].std() - 1) < 0.05
    assert all(
        torch.equal(draw(0)[name], first[name]) and not torch.equal(draw(1)[name], first[name]) for name in first
    )
