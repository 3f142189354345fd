"""OpenGL on a machine without a screen: with which library MuJoCo can draw there; asks the loader, imports nothing."""

from __future__ import annotations

import ctypes
import os
import sys

# MUJOCO_GL's values that need no screen, the better one first, and the libraries that they stand for
_LIBRARIES = {"egl": ["libEGL.so.1"], "osmesa": ["libOSMesa.so.8", "libOSMesa.so.6"]}
_OFF = ("disable", "disabled", "off", "false", "0")  # mujoco/rendering/classic/gl_context.py

WITHOUT_OPENGL = (
    "films need OpenGL: allowed with EGL (on Debian or Ubuntu: apt install libegl1 libgl1) "
    "or OSMesa (apt install libosmesa6)"
)


def choose() -> None:
    """Set MUJOCO_GL, which MuJoCo reads when it is imported, where there is no screen and a library that needs none.

    A value of the user's own stays. A library that is not there must not be named: `import mujoco` would fail.
    """
    if sys.platform == "linux" and not _screen() and "MUJOCO_GL" not in os.environ:
        found = next((name for name in _LIBRARIES if _there(name)), None)
        if found:
            os.environ["MUJOCO_GL"] = found


def problem() -> str | None:
    """Why nothing can be drawn here, in one line, or None if there is what it takes; call `choose` first."""
    if sys.platform != "linux":
        return None  # OpenGL is part of the system
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    possible = _there(asked) if asked in _LIBRARIES else _screen() and asked not in _OFF
    return None if possible else WITHOUT_OPENGL + (f"; MUJOCO_GL={asked} cannot draw here" if asked else "")


def _screen() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _there(name: str) -> bool:
    for library in _LIBRARIES[name]:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False
