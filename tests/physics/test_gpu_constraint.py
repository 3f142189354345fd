"""Rows of constraints in whole arrays: MJX's numbers."""

from __future__ import annotations

import jax
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from mujoco.mjx._src import constraint

from mjxrl.physics import gpu_constraint

XML = """
<mujoco><option impratio="2"/><worldbody>
  <geom type="plane" size="5 5 1" condim="{condim}" friction=".9 .02 .01"/>
  <body pos="0 0 .08"><freejoint/><geom size=".1"/>
    <body pos=".2 0 0"><joint axis="0 1 0" range="-20 20" margin=".1"/><geom size=".1" margin=".02"/></body>
    <body pos="0 .2 .1"><joint type="slide" range="-.1 .2" solreflimit=".01 .9"/><geom size=".1"/></body></body>
</worldbody></mujoco>"""


def placed(condim: int, limits: bool = True) -> tuple[mjx.Model, mjx.Data]:
    """A body on the floor, with a hinge beyond its limit and a slide within."""
    m = mujoco.MjModel.from_xml_string(XML.format(condim=condim))
    if not limits:
        m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_LIMIT
    c = mujoco.MjData(m)
    c.qpos[7:] = [-0.5, 0.05]
    mujoco.mj_forward(m, c)
    assert c.ncon >= 2
    put = mjx.put_model(m, impl="jax")
    return put, mjx.put_data(m, c, impl="jax")


def assert_same(found: object, expected: object) -> None:
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("condim", [3, 4, 6])
def test_pyramids(condim: int) -> None:
    put, d = placed(condim)
    found = gpu_constraint.pyramids(put, d, condim)
    assert (np.abs(found.J).sum(axis=1) > 0).any()
    assert_same(found, constraint._efc_contact_pyramidal(put, d, condim))
    assert gpu_constraint.pyramids(put, d, 4 if condim == 6 else 6) is None


def test_limits() -> None:
    put, d = placed(3)
    found = gpu_constraint.limits(put, d)
    assert (np.abs(found.J).sum(axis=1) > 0).tolist() == [True, False]
    assert_same(found, constraint._efc_limit_slide_hinge(put, d))
    put, d = placed(3, limits=False)
    assert gpu_constraint.limits(put, d) is None
