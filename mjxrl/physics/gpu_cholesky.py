"""Small systems of equations as a GPU solves them well: in array operations, without a call into a library.

MJX solves with `jax.scipy.linalg`: on a GPU cuSOLVER's potrf and cuBLAS's triangular solve, which XLA puts into no
command buffer. Every loop around them then runs from the host, which waits for the device before each turn
(`xla/backends/gpu/runtime/while_thunk.cc`). Of the array operations here XLA makes half as many kernels as there are
unknowns.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

LARGEST = 32  # unknowns; the program grows with their square
_TOGETHER = 8  # rows of a factor; with more, kernels become few and compilation slow


def solve(a: jax.Array, b: jax.Array) -> jax.Array:
    """The `x`, (n,), of `a @ x = b` for `a`, (n, n), symmetric and positive definite; NaN if it is not.

    Only the lower triangle of `a` is read. The rows of its upper Cholesky factor are computed with `b` as one more
    column, which becomes the right-hand side of the back substitution; some rows at a time, since rows that depend on
    one another would be a kernel each.
    """
    n, wide = len(b), jnp.concatenate([a, b[None]])
    rows: list[jax.Array] = []
    scales: list[jax.Array] = []  # one over the diagonal
    for start in range(0, n, _TOGETHER):
        together = range(start, min(start + _TOGETHER, n))
        rest = []
        for j in together:
            row = wide[:, j]
            for above in rows:
                row -= above * above[j]
            rest.append(row)
        for weights in _inverse_factor([[row[j] for j in together] for row in rest]):
            rows.append(_dot(weights, rest))
            scales.append(weights[-1])
    x: list[jax.Array] = []  # backwards
    for row, scale in zip(reversed(rows), reversed(scales), strict=True):
        x.append((row[-1] - _dot([row[n - 1 - k] for k in range(len(x))], x)) * scale)
    return jnp.stack(x[::-1])


def _inverse_factor(a: list[list[jax.Array]]) -> list[list[jax.Array]]:
    """The rows, up to the diagonal, of the `w` for which `w @ a @ w.T` is the identity; all in scalars."""
    factor: list[list[jax.Array]] = []  # what is left of the diagonal
    inverse: list[list[jax.Array]] = []
    for i in range(len(a)):
        row: list[jax.Array] = []
        for j in range(i):
            row.append((a[j][i] - _dot(row, factor[j])) * inverse[j][j])
        scale = jax.lax.rsqrt(a[i][i] - _dot(row, row))
        factor.append(row)
        inverse.append([-scale * _dot(row[j:], [inverse[k][j] for k in range(j, i)]) for j in range(i)] + [scale])
    return inverse


def _dot(x: list[jax.Array], y: list[jax.Array]) -> Any:
    """The sum of the products, of the longer list only the beginning; 0 of none."""
    return sum(a * b for a, b in zip(x, y, strict=False))
