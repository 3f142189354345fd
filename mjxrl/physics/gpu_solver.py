"""MJX as a GPU runs it well: no call into a library, no small loop, few kernels; which of its functions are replaced.

`gpu_cholesky` solves small systems, `gpu_newton` makes a turn of Newton's method, `gpu_spatial` does the geometry,
`gpu_constraint` the rows of constraints. What is here concerns loops. Where MJX's own line search stays it is a loop, a
turn of which is eight launches of bookkeeping beside its kernels: copies of what it carries, its counter, its
condition. Unrolled it has none of those. Newton's loop asks each world twice whether it goes on, in the condition and,
under vmap, in the body; `while_loop` asks once. That also makes sure that the two agree: if rounding made them differ,
the loop would never end.

On a CPU LAPACK and loops are as good, and MJX stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from mujoco.mjx._src import constraint, forward, math, scan, smooth, solver, support

from mjxrl.physics import gpu_constraint, gpu_newton, gpu_spatial
from mjxrl.physics.gpu_cholesky import LARGEST, solve

T = TypeVar("T")

_READ = "3.17."  # versions of mujoco-mjx in which what is replaced was read, and how it is used
_linalg = jax.scipy.linalg


def wanted() -> bool:
    """Whether programs run on a GPU, and MJX is of a version that this was written for."""
    return jax.default_backend() == "gpu" and version("mujoco-mjx").startswith(_READ)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Programs of MJX that are traced in this context use what `_PATCHES` names.

    What MJX keeps as the factor of a small system is then the matrix itself.
    """
    with contextlib.ExitStack() as stack:
        for module, name, ours in _PATCHES:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, ours)
        yield


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
    return (a, False) if len(a) <= LARGEST else _linalg.cho_factor(a)


def _cho_solve(factor: tuple[jax.Array, bool], b: jax.Array) -> jax.Array:
    return solve(factor[0], b) if len(b) <= LARGEST else _linalg.cho_solve(factor, b)


def _trace(a: jax.Array) -> Any:
    return sum(a[i, i] for i in range(len(a)))


def _xfrc_accumulate(m: Any, d: Any) -> jax.Array:
    """None: a task's `Controls` are all that acts on its bodies."""
    return jnp.zeros(m.nv)


_SCIPY = SimpleNamespace(linalg=SimpleNamespace(cho_factor=_cho_factor, cho_solve=_cho_solve))
_LAX = SimpleNamespace(**vars(jax.lax) | {"while_loop": while_loop})
_JAX = SimpleNamespace(**vars(jax) | {"scipy": _SCIPY, "lax": _LAX})
_OPS = SimpleNamespace(segment_sum=gpu_spatial.segment_sum)
_MATH = ("quat_mul", "quat_to_mat", "axis_angle_to_quat", "inert_mul", "motion_cross", "motion_cross_force")
_PATCHES: tuple[tuple[Any, str, Any], ...] = (
    *((module, "jax", _JAX) for module in (forward, smooth, solver)),
    (scan, "jax", SimpleNamespace(**vars(jax) | {"ops": _OPS})),
    (solver, "jp", SimpleNamespace(**vars(jnp) | {"trace": _trace})),
    (solver, "_while_loop_scan", unrolled),
    (solver, "_linesearch", gpu_newton.line_search),
    (solver, "_update_gradient", gpu_newton.update_gradient),
    *((module, "jp", SimpleNamespace(**vars(jnp) | {"cross": gpu_spatial.cross})) for module in (math, smooth)),
    *((math, name, getattr(gpu_spatial, name)) for name in _MATH),
    (support, "jac", gpu_spatial.jac),
    (constraint, "_efc_limit_slide_hinge", gpu_constraint.limits),
    (constraint, "_efc_contact_pyramidal", gpu_constraint.pyramids),
    (support, "xfrc_accumulate", _xfrc_accumulate),
)
