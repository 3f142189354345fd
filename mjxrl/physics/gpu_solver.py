"""MJX's solver as a GPU runs it well: no call into a library, no small loop.

MJX solves for the smooth acceleration and for Newton's direction with `jax.scipy.linalg`: on a GPU cuSOLVER's potrf and
cuBLAS's triangular solve, which XLA puts into no command buffer. Every loop around them then runs from the host, which
waits for the device before each turn (`xla/backends/gpu/runtime/while_thunk.cc`). Of the array operations in `solve`
XLA makes half as many kernels as there are unknowns. And the line search is a loop, a turn of which is four kernels
and eight launches of bookkeeping: copies of what it carries, its counter, its condition. Unrolled it has none of those.
Newton's loop asks each world twice whether it goes on, in the condition and, under vmap, in the body; `while_loop` asks
once. That also makes sure that the two agree: if rounding made them differ, the loop would never end.

On a CPU LAPACK and loops are as good, and stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from mujoco.mjx._src import forward, smooth, solver

T = TypeVar("T")

_READ = "3.17."  # versions of mujoco-mjx in which each factor is used in one place, after it was made
_LARGEST = 32  # unknowns; the program grows with their square
_TOGETHER = 8  # rows of a factor; with more, kernels become few and compilation slow
_linalg = jax.scipy.linalg


def wanted() -> bool:
    """Whether programs run on a GPU, and MJX is of a version that this was written for."""
    return jax.default_backend() == "gpu" and version("mujoco-mjx").startswith(_READ)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Programs of MJX that are traced in this context use `solve`, up to 32 unknowns, `unrolled` and `while_loop`.

    What MJX keeps as the factor of such a system is the matrix itself.
    """
    modules: tuple[Any, ...] = (forward, smooth, solver)
    loop = solver._while_loop_scan
    for module in modules:
        module.jax = _JAX
    solver._while_loop_scan = unrolled
    try:
        yield
    finally:
        solver._while_loop_scan = loop
        for module in modules:
            module.jax = jax


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


def unrolled(going: Callable[[T], jax.Array], turn: Callable[[T], T], value: T, turns: int) -> T:
    """`value` after at most `turns` turns, as long as `going`: MJX's `_while_loop_scan` without a loop."""
    go = going(value)
    for _ in range(turns):
        value = jax.tree.map(lambda new, old, go=go: jnp.where(go, new, old), turn(value), value)
        go &= going(value)
    return value


def while_loop(going: Callable[[T], jax.Array], turn: Callable[[T], T], value: T) -> T:
    """`jax.lax.while_loop` that carries its condition."""

    def turned(state: tuple[T, jax.Array]) -> tuple[T, jax.Array]:
        value = turn(state[0])
        return value, going(value)

    return jax.lax.while_loop(lambda state: state[1], turned, (value, going(value)))[0]


def _cho_factor(a: jax.Array) -> tuple[jax.Array, bool]:
    return (a, False) if len(a) <= _LARGEST else _linalg.cho_factor(a)


def _cho_solve(factor: tuple[jax.Array, bool], b: jax.Array) -> jax.Array:
    return solve(factor[0], b) if len(b) <= _LARGEST else _linalg.cho_solve(factor, b)


_SCIPY = SimpleNamespace(linalg=SimpleNamespace(cho_factor=_cho_factor, cho_solve=_cho_solve))
_LAX = SimpleNamespace(**vars(jax.lax) | {"while_loop": while_loop})
_JAX = SimpleNamespace(**vars(jax) | {"scipy": _SCIPY, "lax": _LAX})
