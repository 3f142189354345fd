"""gymnasium-robotics on today's MuJoCo: its environments registered, and one comparison that fails mended.

Since MuJoCo 3.12 its enums no longer equal NumPy's integers, as which a model holds its types; gymnasium-robotics 1.4.2
compares the two (utils/mujoco_utils.py), and can make none of its Fetch and Hand environments. Only that module sees
enums of plain integers instead, and only in the version that was read.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import mujoco

_READ = "1.4.2"
_COMPARED = ("mjtJoint", "mjtEq", "mjtObj")


def register() -> None:
    """Make gymnasium-robotics' environments known to `gymnasium.make`."""
    import gymnasium

    robotics = importlib.import_module("gymnasium_robotics")
    if "FetchReach-v4" not in gymnasium.registry:
        gymnasium.register_envs(robotics)
        robotics.register_robotics_envs()
    utils: Any = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
    if version("gymnasium-robotics") == _READ and utils.mujoco is mujoco:
        utils.mujoco = _WithIntegers()


class _WithIntegers:
    """The module mujoco, whose enums that are compared with NumPy's integers are integers."""

    def __init__(self) -> None:
        for name in _COMPARED:
            members = getattr(mujoco, name).__members__
            setattr(self, name, SimpleNamespace(**{key: int(value) for key, value in members.items()}))

    def __getattr__(self, name: str) -> Any:
        return getattr(mujoco, name)
