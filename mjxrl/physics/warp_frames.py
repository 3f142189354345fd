"""The friction frame of a capsule on a plane as MuJoCo's C has it, in Warp's kernels: see `plane_capsule`.

Warp evaluates the annotations of its functions: this file must not defer them (`from __future__ import annotations`).
"""

import importlib
from typing import Any

from mjxrl.errors import UnavailableError

wp: Any = importlib.import_module("warp")  # Any: its stubs know less than its compiler
_primitive: Any = importlib.import_module("mujoco_warp._src.collision_primitive")

_PARALLEL = wp.constant(1e-6)  # the axis has no direction within the plane: any tangent will do
_vec3 = wp.vec3
_corrected: bool | None = None


def correct(on: bool) -> None:
    """Kernels that are built from now on have C's frame, or Warp's own if not `on`.

    Raises:
        UnavailableError: this process has already built them the other way.
    """
    global _corrected
    if _corrected is None:
        _corrected = on
        if on:
            _primitive.plane_capsule = with_frame_of_c(_primitive.plane_capsule)
    elif _corrected != on:
        raise UnavailableError(
            "--physics.stock-frames: allowed on warp: one choice per process, whose kernels are built once"
        )


def with_frame_of_c(stock: Any) -> Any:
    """Warp's collision function of a plane and a capsule, with C's frame."""

    @wp.func
    def plane_capsule(
        plane_normal: _vec3,  # pyright: ignore[reportInvalidTypeForm]
        plane_pos: _vec3,  # pyright: ignore[reportInvalidTypeForm]
        capsule_pos: _vec3,  # pyright: ignore[reportInvalidTypeForm]
        capsule_axis: _vec3,  # pyright: ignore[reportInvalidTypeForm]
        capsule_radius: float,
        capsule_half_length: float,
    ):
        dist, pos, frame = stock(
            plane_normal, plane_pos, capsule_pos, capsule_axis, capsule_radius, capsule_half_length
        )
        tangent = capsule_axis - plane_normal * wp.dot(plane_normal, capsule_axis)
        norm = wp.length(tangent)
        if norm > _PARALLEL:
            b = tangent / norm
            c = wp.cross(plane_normal, b)
            n = plane_normal
            frame = wp.mat33(n[0], n[1], n[2], b[0], b[1], b[2], c[0], c[1], c[2])
        return dist, pos, frame

    return plane_capsule
