"""MJX's quaternions and spatial vectors in expressions of whole arrays, which XLA fuses with what is around them.

MJX puts each result together from its components. On a GPU such a concatenation is a kernel of its own, and so is a
scatter. What picks components here are gathers with indices known beforehand, which are neither.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_NEXT, _LAST = np.array([1, 2, 0]), np.array([2, 0, 1])
_SKEW = np.array([[0, -3, 2], [3, 0, -1], [-2, 1, 0]])  # of a vector: component (from 1) and sign; 0 is nothing
_NONE = np.zeros((3, 3), int)
_LINEAR = np.sign(_SKEW) * 3 + _SKEW  # of the linear part, which comes after the angular
_MOTION = np.block([[_SKEW, _NONE], [_LINEAR, _SKEW]])
_FORCE = np.block([[_SKEW, _LINEAR], [_NONE, _SKEW]])
_OFFSET = np.sign(_SKEW) * 6 + _SKEW  # cinert: six of the inertia, mass times offset, mass
_INERTIA = np.block([[np.array([[1, 4, 5], [4, 2, 6], [5, 6, 3]]), _OFFSET], [-_OFFSET, 10 * np.eye(3, dtype=int)]])
_QUATERNION = np.array([[1, -2, -3, -4], [2, 1, -4, 3], [3, 4, 1, -2], [4, -3, 2, 1]])


def _matrix(components: np.ndarray, x: jax.Array) -> jax.Array:
    return x[np.abs(components) - (components != 0)] * np.sign(components).astype(np.float32)


def _product(components: np.ndarray, x: jax.Array, y: jax.Array) -> jax.Array:
    return (_matrix(components, x) * y).sum(axis=1)


def cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """The cross product along the last axis, 3 long."""
    return a[..., _NEXT] * b[..., _LAST] - a[..., _LAST] * b[..., _NEXT]


def quat_mul(u: jax.Array, v: jax.Array) -> jax.Array:
    """The product of two quaternions, each (4,)."""
    return _product(_QUATERNION, u, v)


def quat_to_mat(q: jax.Array) -> jax.Array:
    """The rotation matrix, (3, 3), of a unit quaternion (4,)."""
    w, v = q[0], q[1:]
    return (w * w - (v * v).sum()) * np.eye(3, dtype=np.float32) + 2 * (v[:, None] * v + w * _matrix(_SKEW, v))


def axis_angle_to_quat(axis: jax.Array, angle: jax.Array) -> jax.Array:
    """The quaternion, (4,), of a rotation by `angle` radians around `axis`, (3,)."""
    return jnp.concatenate([jnp.cos(angle * 0.5)[None], axis * jnp.sin(angle * 0.5)])


def inert_mul(inertia: jax.Array, motion: jax.Array) -> jax.Array:
    """The force, (6,), of an inertia (10,) as `cinert` has it, and a motion (6,)."""
    return _product(_INERTIA, inertia, motion)


def motion_cross(u: jax.Array, v: jax.Array) -> jax.Array:
    """The cross product of two motions, each (6,)."""
    return _product(_MOTION, u, v)


def motion_cross_force(v: jax.Array, f: jax.Array) -> jax.Array:
    """The cross product of a motion and a force, each (6,)."""
    return _product(_FORCE, v, f)


def segment_sum(x: jax.Array, segments: np.ndarray, count: int) -> jax.Array:
    """`jax.ops.segment_sum` over the first axis, for segments known beforehand."""
    if np.array_equal(segments, np.arange(count)):
        return x
    mask = segments == np.arange(count)[:, None]
    return jnp.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - 1)), x, 0).sum(axis=1)


def jac(m: Any, d: Any, point: jax.Array, body: jax.Array) -> tuple[jax.Array, jax.Array]:
    """MJX's `support.jac`: how each dof moves and turns a point (3,) of a body, (nv, 3) each."""
    moves = np.zeros((m.nbody, m.nv), np.float32)
    for i in range(1, m.nbody):
        moves[i] = np.maximum(moves[m.body_parentid[i]], m.dof_bodyid == i)
    mask = jnp.asarray(moves)[body][:, None]
    angular = d.cdof[:, :3]
    offset = point - d.subtree_com[jnp.asarray(m.body_rootid)[body]]
    return (d.cdof[:, 3:] + cross(angular, offset)) * mask, angular * mask
