"""Versions of everything that results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_OF_MUJOCO = ("mujoco", "mujoco-mjx", "mujoco-warp", "warp-lang")
_PACKAGES = ("mjxrl", "torch", "jax", "jaxlib", *_OF_MUJOCO, "gymnasium", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, the operating system and every package that results depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | {name: number for name in _PACKAGES if (number := installed(name)) is not None}


def installed(*names: str) -> str | None:
    """Version of the first of these distributions that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
