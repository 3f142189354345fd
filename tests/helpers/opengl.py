"""A skip for machines that cannot draw."""

from __future__ import annotations

from functools import cache

import mujoco
import pytest

from mjxrl.machine import graphics


def need_opengl() -> None:
    """Skip what follows, and say why, where MuJoCo finds no OpenGL that works."""
    problem = _problem()
    if problem:
        pytest.skip(problem)


@cache
def _problem() -> str | None:
    missing = graphics.problem()
    if missing:
        return missing
    try:
        mujoco.GLContext(16, 16).free()  # type: ignore[attr-defined] (chosen when MuJoCo is imported)
    except Exception as error:  # PyOpenGL's or MuJoCo's: a library without a driver
        return f"OpenGL does not work here: {error}"
    return None
