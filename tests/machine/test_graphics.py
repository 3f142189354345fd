"""With which OpenGL MuJoCo is told to draw, by the libraries that this machine is made to have."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from mjxrl.machine import graphics

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenGL is part of the system")
EGL, OSMESA, OLD_OSMESA = "libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so.6"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Makes this machine one without a screen that has these libraries and these variables."""

    def make(*libraries: str, **variables: str) -> None:
        def load(name: str) -> None:
            if name not in libraries:
                raise OSError(f"{name}: cannot open shared object file")

        hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
        left = {name: value for name, value in os.environ.items() if name not in hidden}
        monkeypatch.setattr(os, "environ", left | variables)
        monkeypatch.setattr(ctypes, "CDLL", load)

    return make


@pytest.mark.parametrize(
    ("libraries", "chosen"),
    [((EGL,), "egl"), ((EGL, OSMESA), "egl"), ((OSMESA,), "osmesa"), ((OLD_OSMESA,), "osmesa"), ((), None)],
)
def test_a_library_that_is_there_is_chosen(machine, libraries: tuple[str, ...], chosen: str | None) -> None:
    machine(*libraries)
    graphics.choose()
    assert os.environ.get("MUJOCO_GL") == chosen
    assert (graphics.problem() is None) == bool(libraries)


@pytest.mark.parametrize("variables", [{"MUJOCO_GL": "glfw"}, {"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}])
def test_a_users_choice_or_screen_is_left_alone(machine, variables: dict[str, str]) -> None:
    machine(EGL, **variables)
    graphics.choose()
    assert os.environ.get("MUJOCO_GL") == variables.get("MUJOCO_GL")


@pytest.mark.parametrize(
    ("libraries", "variables", "why"),
    [
        ((), {}, ""),
        ((OSMESA,), {"MUJOCO_GL": "egl"}, "MUJOCO_GL=egl"),
        ((EGL,), {"MUJOCO_GL": "osmesa"}, "MUJOCO_GL=osmesa"),
        ((EGL,), {"MUJOCO_GL": "glfw"}, "MUJOCO_GL=glfw"),
        ((EGL,), {"MUJOCO_GL": "disable", "DISPLAY": ":0"}, "MUJOCO_GL=disable"),
    ],
)
def test_a_machine_that_cannot_draw_names_the_packages(machine, libraries, variables, why: str) -> None:
    machine(*libraries, **variables)
    graphics.choose()
    problem = graphics.problem()
    assert problem is not None and "libegl1" in problem and "libosmesa6" in problem and why in problem
    assert "\n" not in problem


def test_a_screen_will_do(machine) -> None:
    machine(DISPLAY=":0")
    assert graphics.problem() is None
