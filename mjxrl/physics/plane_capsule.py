"""The friction frame of a capsule on a plane as MuJoCo's C has it, for MJX; for Warp see `warp_frames`.

C takes the capsule's axis, projected onto the plane, as the first tangent. MJX 3.17 takes a fixed one instead when the
axis is within 30 degrees of the plane's normal (`mjx/_src/collision_primitive.py:74-76`,
`mujoco_warp/_src/collision_primitive_core.py:289`, mujoco issue 2774). Pyramidal friction is not isotropic, so the
robot moves differently: Ant's velocities in contact are off by 0.09 a step. Only the frame is replaced here, and only
in the version that was read; `tests/physics/test_plane_capsule.py` fails when upstream no longer needs it.
"""

import contextlib
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
from mujoco.mjx._src import collision_driver
from mujoco.mjx._src.types import GeomType

_READ = "3.17."  # versions of mujoco-mjx in which the code above was read
_PARALLEL = 1e-6  # the axis has no direction within the plane: any tangent will do
_PAIR = (GeomType.PLANE, GeomType.CAPSULE)
_stock = collision_driver._COLLISION_FUNC[_PAIR]


def wanted() -> bool:
    """Whether this version of MJX is the one that the correction is for; warns if it is not."""
    found = version("mujoco-mjx")
    if not found.startswith(_READ):
        warnings.warn(
            f"mujoco-mjx {found}: the plane-capsule frame is left as it is, the correction is for {_READ}x only; "
            "mjxrl-parity says whether policies still carry over",
            stacklevel=2,
        )
        return False
    return True


@contextlib.contextmanager
def corrected() -> Iterator[None]:
    """Programs of MJX-JAX that are traced in this context have C's frame."""
    collision_driver._COLLISION_FUNC[_PAIR] = _with_frame_of_c
    try:
        yield
    finally:
        collision_driver._COLLISION_FUNC[_PAIR] = _stock


def _with_frame_of_c(m: Any, d: Any, key: Any, geom: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    dist, pos, frame = _stock(m, d, key, geom)
    plane, capsule = geom.T
    normal, axis = d.geom_xmat[plane][:, :, 2], d.geom_xmat[capsule][:, :, 2]
    tangent = axis - normal * (normal * axis).sum(axis=1, keepdims=True)
    norm = jnp.linalg.norm(tangent, axis=1, keepdims=True)
    tangent = tangent / jnp.maximum(norm, _PARALLEL)
    ours = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
    ours = jnp.repeat(ours, 2, axis=0)  # one for each end of a capsule
    return dist, pos, jnp.where(jnp.repeat(norm, 2, axis=0)[:, :, None] > _PARALLEL, ours, frame)


setattr(_with_frame_of_c, "ncon", 2)  # noqa: B010 (as MJX's own `collider` does)
