"""Rows of MJX's constraints without scatters and small products of matrices, each of which is a kernel of its own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco.mjx._src import constraint
from mujoco.mjx._src.types import DisableBit, JointType

from mjxrl.physics import gpu_spatial


def limits(m: Any, d: Any) -> Any:
    """MJX's `_efc_limit_slide_hinge`: a row for each limited joint of one dof, None if there are none."""
    joints = np.nonzero(np.isin(m.jnt_type, (JointType.SLIDE, JointType.HINGE)) & m.jnt_limited)[0]
    if m.opt.disableflags & DisableBit.LIMIT or joints.size == 0:
        return None
    qpos, margin, dofs = d.qpos[m.jnt_qposadr[joints]], m.jnt_margin[joints], m.jnt_dofadr[joints]
    above_low, below_high = qpos - m.jnt_range[joints, 0], m.jnt_range[joints, 1] - qpos
    pos = jnp.minimum(above_low, below_high) - margin
    active = pos < 0
    side = jnp.where(above_low < below_high, 1.0, -1.0) * active
    j = side[:, None] * np.eye(m.nv, dtype=np.float32)[dofs]
    zero = jnp.zeros_like(pos)
    parameters = m.dof_invweight0[dofs], m.jnt_solref[joints], m.jnt_solimp[joints], margin, zero
    return constraint._Efc(j, pos * active, pos, *parameters)


def pyramids(m: Any, d: Any, condim: int) -> Any:
    """MJX's `_efc_contact_pyramidal`: 2 (condim - 1) rows for each contact of dimension `condim`, None without one."""
    contacts = np.nonzero(d._impl.contact.dim == condim)[0]
    if contacts.size == 0:
        return None

    def rows(c: Any) -> Any:
        pos = c.dist - c.includemargin
        active = pos < 0
        bodies = jnp.asarray(m.geom_bodyid)[c.geom]
        moves, turns = (
            second - first
            for first, second in zip(*(gpu_spatial.jac(m, d, c.pos, body) for body in bodies), strict=True)
        )
        diff = _along(c.frame, moves)
        if condim > 3:
            diff = jnp.concatenate([diff, _along(c.frame, turns)])
        friction = jnp.repeat(c.friction[: condim - 1], 2) * np.tile([1.0, -1.0], condim - 1).astype(np.float32)
        j = diff[0] + jnp.repeat(diff[1:condim], 2, axis=0) * friction[:, None]
        square = friction[0] * friction[0]
        invweight = m.body_invweight0[bodies[0], 0] + m.body_invweight0[bodies[1], 0]
        invweight = (invweight + square * invweight) * 2 * square / m.opt.impratio
        parameters = invweight, c.solref, c.solimp, c.includemargin, jnp.zeros_like(pos)
        return constraint._row(j * active, pos * active, pos, *parameters)

    chosen = jax.tree.map(lambda x: x[contacts], d._impl.contact)
    return jax.tree.map(jnp.concatenate, jax.vmap(rows)(chosen))


def _along(frame: jax.Array, moves: jax.Array) -> jax.Array:
    """`frame @ moves.T` of (3, 3) and (nv, 3), as a sum of products."""
    return (frame[:, None] * moves).sum(axis=2)
