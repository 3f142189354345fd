"""What MJX takes from a model without a word and does not simulate.

Found by reading which fields of MjModel 3.17 no line of `mujoco/mjx/_src` uses, and by stepping a model with each
beside MuJoCo's C. What else MJX lacks it refuses itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from mujoco import mjtDisableBit, mjtDyn, mjtEnableBit, mjtEq, mjtGain, mjtIntegrator

# Warp has the rest. It has delays and intervals too, but their history would outlive a reset of ours.
_BY_WARP_TOO = {"armature", "disabled group", "delay", "interval"}


def dropped(model: mujoco.MjModel, backend: str, fields: tuple[str, ...]) -> list[str]:
    """What `backend` (jax or warp) would drop, by element, such as "delay of actuator 'hip'".

    Args:
        fields: that the task reads; what is wrong with sensors only matters to a task that reads `sensordata`.
    """
    found = [] if backend == "warp" else list(_options(model))
    for kind, what, which in _elements(model, "sensordata" in fields):
        if backend == "warp" and what not in _BY_WARP_TOO:
            continue
        for i in np.flatnonzero(which):
            found.append(f"{what} of {kind} {getattr(model, kind)(i).name or f'number {i}'!r}")
    return found


def _elements(m: Any, sensors: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Kind of element, what MJX drops of it, and which elements have that."""
    dynamic, muscle = m.actuator_dyntype != mjtDyn.mjDYN_NONE, m.actuator_gaintype == mjtGain.mjGAIN_MUSCLE
    implicitfast = m.opt.integrator == mjtIntegrator.mjINT_IMPLICITFAST
    yield "actuator", "delay", m.actuator_delay > 0
    yield "actuator", "armature", m.actuator_armature != 0
    yield "actuator", "damping", (m.actuator_damping != 0) | m.actuator_dampingpoly.any(axis=1)
    yield "actuator", "plugin", m.actuator_plugin >= 0
    yield "actuator", "actearly", m.actuator_actearly & dynamic
    disabled = [group for group in range(31) if m.opt.disableactuator >> group & 1]
    yield "actuator", "disabled group", np.isin(m.actuator_group, disabled)
    yield "actuator", "muscle under implicitfast", implicitfast & muscle
    yield "joint", "nonlinear stiffness", m.jnt_stiffnesspoly.any(axis=1)
    yield "joint", "nonlinear damping", np.isin(range(m.njnt), m.dof_jntid[m.dof_dampingpoly.any(axis=1)])
    yield "tendon", "nonlinear stiffness", m.tendon_stiffnesspoly.any(axis=1)
    yield "tendon", "nonlinear damping", m.tendon_dampingpoly.any(axis=1)
    yield "equality", "velocity-dependent part", np.isin(m.eq_type, (mjtEq.mjEQ_CONNECT, mjtEq.mjEQ_WELD))
    yield "geom", "surfacevel", m.geom_surfacevel.any(axis=1)
    yield "geom", "adhesion", m.geom_adhesion != 0
    yield "pair", "adhesion", m.pair_adhesion != 0
    yield "geom", "fluidshape ellipsoid", (m.geom_fluid[:, 0] > 0) & (m.opt.density > 0 or m.opt.viscosity > 0)
    yield "body", "plugin", m.body_plugin >= 0
    if sensors:
        yield "sensor", "delay", m.sensor_delay > 0
        yield "sensor", "interval", m.sensor_interval[:, 0] > 0
        yield "sensor", "plugin", m.sensor_plugin >= 0


def _options(m: mujoco.MjModel) -> Iterator[str]:
    passive = m.opt.disableflags & (mjtDisableBit.mjDSBL_SPRING | mjtDisableBit.mjDSBL_DAMPER)
    if passive in (mjtDisableBit.mjDSBL_SPRING, mjtDisableBit.mjDSBL_DAMPER):
        yield "the flags spring and damper, one without the other"
    if m.opt.noslip_iterations > 0:
        yield "noslip_iterations"
    if m.opt.enableflags & mjtEnableBit.mjENBL_SLEEP:
        yield "the flag sleep"
