"""How large Warp's arrays are: room for contacts, chosen from the model and the task, and bytes, known beforehand.

MuJoCo's C finds contacts as they come. Warp has one array of contacts for all worlds and a fixed number of rows in each
world's solver; it notes what had no room, and the physics counts that (`Physics.overflows`).
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import mujoco
import numpy as np

wp: Any = importlib.import_module("warp")
mjw: Any = importlib.import_module("mujoco_warp")
_solver: Any = importlib.import_module("mujoco_warp._src.solver")

_PAIRS = 3  # geom pairs that pass the broad phase per contact; 2.4 at most were seen (docs/parity.md)
_DEFAULT = 32  # contacts of a world of a task that names no maximum, if it has that many pairs
_ONE = (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID)  # contacts of such a geom and another, at most
_TWO, _EIGHT, _FIFTY = mujoco.mjtGeom.mjGEOM_CAPSULE, 8, 50  # 50: mjMAXCONPAIR (mjtype.h), as under a height field


class Sizes(NamedTuple):
    """Sizes of Warp's arrays."""

    naconmax: int  # contacts, and pairs that pass the broad phase, of all worlds together
    njmax: int  # rows of the solver, each world


def sizes(m: Any, model: mujoco.MjModel, num_envs: int, cap: int | None) -> Sizes:
    """Room for `cap` contacts of each dimension in every world, or for a default number, and every other row."""
    geoms, named = m.nxn_geom_pair_filtered.numpy(), m.nxn_pairid_filtered.numpy()[:, 0]
    dims = model.geom_condim[geoms].max(axis=1, initial=0)
    dims = np.where(named >= 0, model.pair_dim[named] if model.npair else dims, dims)
    dims, which = np.unique(dims, return_inverse=True)
    counts = np.bincount(which, [_most(*model.geom_type[pair]) for pair in geoms], len(dims)).astype(int)
    kept = np.minimum(counts, _DEFAULT if cap is None else cap)
    contacts = int(np.minimum(counts, _PAIRS * kept).sum())
    rows = int((kept * np.where(dims == 1, 1, 2 * (dims - 1))).sum())  # pyramidal cones
    rows += int(model.jnt_limited.sum() + model.tendon_limited.sum())
    rows += int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    rows += int(6 * (model.eq_type != mujoco.mjtEq.mjEQ_JOINT).sum() + (model.eq_type == mujoco.mjtEq.mjEQ_JOINT).sum())
    return Sizes(max(1, num_envs * contacts), max(1, rows))


def _most(one: int, other: int) -> int:
    """Contacts that two geoms of these types have at most."""
    if mujoco.mjtGeom.mjGEOM_HFIELD in (one, other):
        return _FIFTY
    return 1 if one in _ONE or other in _ONE else 2 if _TWO in (one, other) else _EIGHT


def bytes_of(m: Any, model: mujoco.MjModel, num_envs: int, cap: int | None) -> int:
    """Bytes of the model's arrays, of `num_envs` worlds and of a solver at work in them; allocates two worlds."""

    def of(worlds: int) -> int:
        naconmax, njmax = sizes(m, model, worlds, cap)
        data = mjw.make_data(model, nworld=worlds, naconmax=naconmax, njmax=njmax)
        return _sum(data) + _sum(_solver._create_solver_context(m, data))

    one, two = of(1), of(2)  # every array is as long as there are worlds, or as its model is
    return _sum(m) + one + (num_envs - 1) * (two - one)


def _sum(of: Any) -> int:
    values = [getattr(of, field.name) for field in dataclasses.fields(of)]
    arrays = [value for value in values if isinstance(value, wp.array)]
    inner = [value for value in values if dataclasses.is_dataclass(value) and not isinstance(value, type)]
    return sum(a.size * wp.types.type_size_in_bytes(a.dtype) for a in arrays) + sum(map(_sum, inner))
