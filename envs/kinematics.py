"""Geometry of bodies in many worlds at once, against an array namespace `xp`."""

from __future__ import annotations

import mujoco
import numpy as np

from .task import Array, Namespace


def moves(model: mujoco.MjModel, body: int) -> np.ndarray:
    """Which degrees of freedom, (nv,), move a body: 1, or 0."""
    moves, dof = np.zeros(model.nv), -1
    while body and not model.body_dofnum[body]:
        body = int(model.body_parentid[body])
    dof = int(model.body_dofadr[body] + model.body_dofnum[body]) - 1 if body else -1
    while dof >= 0:
        moves[dof], dof = 1, int(model.dof_parentid[dof])
    return moves


def rows(xp: Namespace, columns: Array) -> Array:
    """(N, nv, 3) to (N, 3, nv)."""
    return xp.stack([columns[..., i] for i in range(3)], axis=1)


def cross(xp: Namespace, a: Array, b: Array) -> Array:
    """The cross product of (..., 3) and (..., 3), in the order in which MuJoCo computes it."""
    (a0, a1, a2), (b0, b1, b2) = ([x[..., i] for i in range(3)] for x in (a, b))
    return xp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def norm(xp: Namespace, x: Array) -> Array:
    """(..., K) to (...): Euclidean length."""
    return xp.sqrt(xp.square(x).sum(-1))


def euler(xp: Namespace, m: Array) -> Array:
    """(N, 3, 3) rotations as angles about x, y and z, (N, 3) in radians (utils/rotations.py: mat2euler)."""
    cy = xp.sqrt(m[:, 2, 2] * m[:, 2, 2] + m[:, 1, 2] * m[:, 1, 2])
    regular = cy > 4 * np.finfo(np.float64).eps
    z = xp.where(regular, -xp.arctan2(m[:, 0, 1], m[:, 0, 0]), -xp.arctan2(-m[:, 1, 0], m[:, 1, 1]))
    x = xp.where(regular, -xp.arctan2(m[:, 1, 2], m[:, 2, 2]), 0.0)
    return xp.stack([x, -xp.arctan2(-m[:, 0, 2], cy), z], axis=1)
