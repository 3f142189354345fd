"""The correction of MJX's plane-capsule frame: needed, right, and confined to where it was asked for."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjxrl.physics import plane_capsule

TILTS = (0.0, 5.0, 20.0, 29.0, 31.0, 60.0, 90.0)  # degrees between the capsule's axis and the plane's normal


def model(tilt: float) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(f"""
      <mujoco><worldbody>
        <geom type="plane" size="1 1 1"/>
        <body pos="0 0 .05"><freejoint/><geom type="capsule" size=".1 .3" euler="{tilt} 0 40"/></body>
      </worldbody></mujoco>""")


def frame_of_c(m: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    return data.contact.frame[0].reshape(3, 3)


def frame_of_mjx(m: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    return np.asarray(
        mjx.collision(mjx.put_model(m, impl="jax"), mjx.put_data(m, data, impl="jax"))._impl.contact.frame
    )


@pytest.mark.parametrize("tilt", TILTS[1:])
def test_corrected_frame_is_that_of_c(tilt: float) -> None:
    m = model(tilt)
    with plane_capsule.corrected():
        frames = frame_of_mjx(m)
    assert frames.shape == (2, 3, 3)
    np.testing.assert_allclose(frames, np.broadcast_to(frame_of_c(m), (2, 3, 3)), atol=1e-6)


def test_an_upright_capsule_still_has_a_frame() -> None:
    with plane_capsule.corrected():
        frames = frame_of_mjx(model(0.0))
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-6)


def test_the_correction_is_still_needed() -> None:
    """If this fails, upstream has mended mujoco issue 2774: remove mjxrl/physics/plane_capsule.py and its flag."""
    m = model(20.0)
    assert np.abs(frame_of_mjx(m) - frame_of_c(m)).max() > 0.1


def test_the_correction_ends_with_its_context() -> None:
    m = model(20.0)
    before = frame_of_mjx(m)
    with pytest.raises(KeyError), plane_capsule.corrected():
        raise KeyError
    np.testing.assert_array_equal(frame_of_mjx(m), before)


def test_another_version_is_left_alone_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plane_capsule.wanted()
    monkeypatch.setattr(plane_capsule, "version", lambda _: "3.18.1")
    with pytest.warns(UserWarning, match=r"mujoco-mjx 3\.18\.1: the plane-capsule frame is left as it is"):
        assert not plane_capsule.wanted()


def test_warp_stock_differs_and_corrected_is_that_of_c() -> None:
    wp: Any = pytest.importorskip("warp", reason="Warp is missing: pip install 'mjxrl[warp]'")
    from mujoco_warp._src import collision_primitive_core  # type: ignore[import-not-found]

    from mjxrl.physics import warp_frames

    stock = collision_primitive_core.plane_capsule
    ours = warp_frames.with_frame_of_c(stock)

    @wp.kernel
    def frames(axis: wp.array(dtype=wp.vec3), theirs: wp.array(dtype=wp.mat33), corrected: wp.array(dtype=wp.mat33)):  # type: ignore[valid-type]
        i = wp.tid()
        up = wp.vec3(0.0, 0.0, 1.0)
        _d, _p, frame = stock(up, wp.vec3(), up, axis[i], 0.1, 0.3)
        theirs[i] = frame
        _d2, _p2, frame2 = ours(up, wp.vec3(), up, axis[i], 0.1, 0.3)
        corrected[i] = frame2

    models = [model(tilt) for tilt in TILTS]
    axes = np.array([mujoco_axis(m) for m in models], np.float32)
    arrays = [wp.zeros(len(axes), dtype=wp.mat33, device="cpu") for _ in range(2)]
    wp.launch(frames, dim=len(axes), inputs=[wp.array(axes, dtype=wp.vec3, device="cpu"), *arrays], device="cpu")
    theirs, corrected = (a.numpy() for a in arrays)
    expected = np.array([frame_of_c(m) for m in models])
    np.testing.assert_allclose(corrected[1:], expected[1:], atol=1e-6)
    tilted = [tilt < 30 for tilt in TILTS[1:]]
    off = np.abs(theirs - expected)[1:].max(axis=(1, 2)) > 0.1
    assert off.tolist() == tilted  # no longer: see test_the_correction_is_still_needed


def mujoco_axis(m: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(m)
    mujoco.mj_forward(m, data)
    return data.geom_xmat[1].reshape(3, 3)[:, 2]
