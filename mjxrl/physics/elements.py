"""Which element of a model a number in MjData belongs to, in words."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

# By the first word of a field's name
_KINDS = {"actuator": "actuator", "geom": "geom", "site": "site", "cam": "camera", "ten": "tendon"}
_OF_BODIES = ["xpos", "xquat", "xmat", "xipos", "ximat", "xfrc", "subtree", "cacc", "cfrc", "cinert", "crb", "cvel"]


def named(model: mujoco.MjModel, kind: str, number: int) -> str:
    """An element in words, such as "joint 'hip'"."""
    return f"{kind} {getattr(model, kind)(number).name or f'number {number}'!r}"


def owner(model: mujoco.MjModel, field: str, number: int, size: int) -> str:
    """The element that one of the `size` numbers of an MjData field belongs to; of another array, which one it is."""
    kind, ids = _owners(model, field)
    if not len(ids) or size % len(ids):
        return f"number {number}"
    return named(model, kind, int(ids[number * len(ids) // size]))


def _owners(m: Any, field: str) -> tuple[str, np.ndarray]:
    """The kind of element that has rows in a field, and the element of each row; none if that is not known."""
    word, joints, actuators = field.partition("_")[0], np.arange(m.njnt), np.arange(m.nactuator)
    if field == "qpos":
        return "joint", np.repeat(joints, np.diff([*m.jnt_qposadr, m.nq]))
    if field in ("xanchor", "xaxis"):
        return "joint", joints
    if word in ("qvel", "qacc", "qfrc", "cdof"):
        return "joint", m.dof_jntid
    if word == "act":
        return "actuator", np.repeat(actuators, m.actuator_actnum)
    if field == "ctrl":
        return "actuator", np.repeat(actuators, m.actuator_ctrlnum)
    if field == "sensordata":
        return "sensor", np.repeat(np.arange(m.nsensor), m.sensor_dim)
    if word == "mocap":
        return "body", np.flatnonzero(m.body_mocapid >= 0)
    if word in _KINDS:
        return _KINDS[word], np.arange(getattr(m, f"n{_KINDS[word].replace('camera', 'cam')}"))
    return "body", np.arange(m.nbody if word in _OF_BODIES else 0)
