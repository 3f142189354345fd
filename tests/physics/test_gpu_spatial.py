"""Quaternions and spatial vectors in whole arrays: MJX's numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from mujoco.mjx._src import math, support

from mjxrl.physics import gpu_spatial

RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("quat_mul", (4, 4)),
        ("quat_to_mat", (4,)),
        ("inert_mul", (10, 6)),
        ("motion_cross", (6, 6)),
        ("motion_cross_force", (6, 6)),
    ],
)
def test_as_mjx_has_it(name: str, sizes: tuple[int, ...]) -> None:
    given = [draw(size) for size in sizes]
    found, expected = getattr(gpu_spatial, name)(*given), getattr(math, name)(*given)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_rotation_of_a_third_of_a_turn() -> None:
    found = gpu_spatial.axis_angle_to_quat(jnp.eye(3)[1], jnp.asarray(2 * np.pi / 3))
    np.testing.assert_allclose(found, [np.cos(np.pi / 3), 0, np.sin(np.pi / 3), 0], rtol=1e-6)


def test_cross_products_along_the_last_axis() -> None:
    a, b = draw(3), draw(5, 3)
    np.testing.assert_allclose(gpu_spatial.cross(a, b), np.cross(a, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("segments", [[0, 1, 2], [1, 1, 0], [2, -1, 2]])
def test_sums_of_segments(segments: list[int]) -> None:
    x = draw(3, 2)
    expected = jax.ops.segment_sum(x, np.array(segments), 3)
    np.testing.assert_allclose(gpu_spatial.segment_sum(x, np.array(segments), 3), expected, rtol=1e-6)


def test_jacobians_of_points_on_each_body_of_a_branching_tree() -> None:
    hinge = '<joint axis="0 1 0"/><geom size=".1"/>'
    m = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody>
      <body><freejoint/><geom size=".1"/><body pos=".3 0 0">{hinge}</body><body pos="0 .3 0">{hinge}</body></body>
      <body pos="0 0 2">{hinge}</body></worldbody></mujoco>""")
    put = mjx.put_model(m, impl="jax")
    d: Any = SimpleNamespace(cdof=draw(m.nv, 6), subtree_com=draw(m.nbody, 3))
    point = draw(3)
    for body in jnp.arange(m.nbody):
        found, expected = (jac(put, d, point, body) for jac in (gpu_spatial.jac, support.jac))
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(expected), atol=1e-6)
