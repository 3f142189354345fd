"""A turn of MJX's Newton solver in few kernels: an exact line search, not an iterative one; the Hessian in one.

MJX's line search evaluates the cost at three points a turn, eight turns one after the other, each turn waiting for the
last. But with pyramidal cones and without dry friction the cost along a line is a quadratic function between the points
at which a row of the constraints becomes active or ceases to be. So its slope at all those points, computed at once,
says between which two the minimum lies, and between them the slope is a straight line.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from mujoco.mjx._src import solver, support
from mujoco.mjx._src.types import ConeType, DisableBit, SolverType

from mjxrl.physics.gpu_cholesky import LARGEST, solve

_MOST = 256  # rows: the slopes cost their square

_line_search, _update_gradient = solver._linesearch, solver._update_gradient


def least_along(slope: jax.Array, curvature: jax.Array, x: jax.Array, dx: jax.Array, weight: jax.Array) -> jax.Array:
    """The t ≥ 0 that minimises slope·t + curvature·t²/2 + Σ weight·min(0, x + t·dx)²/2, a scalar; 0 if none descends.

    Args:
        slope: scalar, of the part without rows at t = 0.
        curvature: scalar, positive.
        x: the rows at t = 0, (R,).
        dx: their rate of change, (R,).
        weight: (R,), not negative.
    """

    def slope_at(t: jax.Array) -> jax.Array:
        return slope + curvature * t + (weight * dx * jnp.minimum(x + t * dx, 0)).sum()

    turns = x * dx < 0
    at = jnp.where(turns, -x / jnp.where(turns, dx, 1), 0)  # 0: it turned before
    slopes = jax.vmap(slope_at)(at)
    before = slopes <= 0
    first = slope_at(jnp.zeros_like(slope))
    low, low_slope = jnp.where(before, at, 0).max(), jnp.maximum(jnp.where(before, slopes, -jnp.inf).max(), first)
    high, high_slope = jnp.where(before, jnp.inf, at).min(), jnp.where(before, jnp.inf, slopes).min()
    beyond = curvature + jnp.where(dx < 0, weight * dx * dx, 0).sum()  # the curvature after the last of the points
    within = low - (high - low) * low_slope / (high_slope - low_slope)
    return jnp.where(first < 0, jnp.where(high < jnp.inf, within, low - low_slope / beyond), 0)


def line_search(m: Any, d: Any, ctx: Any) -> Any:
    """MJX's `_linesearch` with `least_along`; MJX's own where the cost is of another form."""
    friction = m._impl.dof_hasfrictionloss.any() or m._impl.tendon_hasfrictionloss.any()
    friction = friction and not m.opt.disableflags & DisableBit.FRICTIONLOSS
    if m.opt.cone != ConeType.PYRAMIDAL or friction or d._impl.nefc > _MOST:
        return _line_search(m, d, ctx)
    mv, jv = support.mul_m(m, d, ctx.search), d._impl.efc_J @ ctx.search
    slope, curvature = ctx.search @ (ctx.Ma - d.qfrc_smooth), ctx.search @ mv
    weight = d._impl.efc_D
    if always := d._impl.ne:  # equalities, which are active on both sides
        pull = weight[:always] * jv[:always]
        slope, curvature = slope + pull @ ctx.Jaref[:always], curvature + pull @ jv[:always]
        weight = weight.at[:always].set(0)
    t = least_along(slope, curvature, ctx.Jaref, jv, weight)
    return ctx.replace(qacc=ctx.qacc + t * ctx.search, Ma=ctx.Ma + t * mv, Jaref=ctx.Jaref + t * jv)


def update_gradient(m: Any, d: Any, ctx: Any) -> Any:
    """MJX's `_update_gradient`, the Hessian as sums of products of small Jacobians; MJX's own for what is not small."""
    if m.opt.solver != SolverType.NEWTON or m.opt.cone != ConeType.PYRAMIDAL or m.nv > LARGEST:
        return _update_gradient(m, d, ctx)
    grad, j = ctx.Ma - d.qfrc_smooth - ctx.qfrc_constraint, d._impl.efc_J
    weighted = j * (d._impl.efc_D * ctx.active)[:, None]
    hessian = support.full_m(m, d) + (weighted[:, :, None] * j[:, None, :]).sum(axis=0)
    return ctx.replace(grad=grad, Mgrad=solve(hessian, grad))
