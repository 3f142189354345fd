"""A skip for machines that cannot draw."""

from __future__ import annotations

import mujoco
import pytest

from mjxrl.machine import graphics


def need_opengl() -> None:
    """Skip what follows, and say why, where MuJoCo finds no OpenGL that works."""
    problem = graphics.problem()
    if problem:
        pytest.skip(problem)
    try:
        mujoco.GLContext(16, 16).free()  # type: ignore[attr-defined] (chosen when MuJoCo is imported)
    except (ImportError, RuntimeError) as error:  # a library without a driver
        pytest.skip(f"OpenGL does not work here: {error}")
