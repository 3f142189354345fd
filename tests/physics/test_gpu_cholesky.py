"""Small systems in array operations: as accurate as LAPACK."""

from __future__ import annotations

import jax
import numpy as np

from mjxrl.physics import gpu_cholesky
from tests.helpers.programs import compiled


def systems(n: int, count: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of condition 1000, right-hand sides, and solutions in float64."""
    random = np.random.default_rng(n)
    basis, _ = np.linalg.qr(random.normal(size=(count, n, n)))
    a = (basis * np.geomspace(1, 1e-3, n)) @ basis.transpose(0, 2, 1)
    a, b = a.astype(np.float32), random.normal(size=(count, n)).astype(np.float32)
    return a, b, np.linalg.solve(a.astype(float), b[:, :, None].astype(float))[:, :, 0]


def by_lapack(a: jax.Array, b: jax.Array) -> jax.Array:
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a), b)


def test_error_is_within_twice_that_of_lapack() -> None:
    a, b, exact = systems(23)
    ours, theirs = (
        np.linalg.norm(compiled(jax.vmap(f), a, b)(a, b) - exact, axis=1) for f in (gpu_cholesky.solve, by_lapack)
    )
    scale = np.linalg.norm(exact, axis=1)
    assert np.median(ours / scale) <= 2 * np.median(theirs / scale)
    assert (ours / scale).max() <= 2 * (theirs / scale).max()


def test_the_lower_triangle_is_read_and_only_a_matrix_that_is_not_definite_gives_nan() -> None:
    a, b, exact = systems(9, 3)
    a += np.triu(np.ones((9, 9), np.float32), 1)
    a[1, 2, 2] = -1.0
    found = compiled(jax.vmap(gpu_cholesky.solve), a, b)(a, b)
    assert np.isnan(found).any(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(found[::2], exact[::2], rtol=1e-3)
