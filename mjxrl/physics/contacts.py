"""How many contacts MJX-JAX has room for, chosen from the model and the task.

MuJoCo's C finds contacts as they come. MJX-JAX has rows in the solver for every pair of geoms that could ever touch
(Humanoid: 138 contacts, 242 rows, of which C fills a tenth), and its cost grows with them; with room for fewer it
keeps the deepest. It does not say when it drops one, so the physics counts (`Physics.overflows`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
from mujoco.mjx._src import collision_driver

_PATCHING = threading.RLock()  # on a GPU each env traces its step on a thread of its own, and MJX's globals are shared


def candidates(model: mujoco.MjModel) -> np.ndarray:
    """Dimension (1, 3, 4 or 6) of every contact that the model could have at once, in rising order."""
    with capped(None):
        return collision_driver.make_condim(model)


def capped_groups(model: mujoco.MjModel, cap: int | None) -> list[slice]:
    """The contacts of each dimension that share `cap` places but could be more, as slices of MJX-JAX's contacts."""
    if cap is None:
        return []
    groups, start = [], 0
    for count in np.unique(candidates(model), return_counts=True)[1].tolist():
        stop = start + min(count, cap)
        if count > cap:
            groups.append(slice(start, stop))
        start = stop
    return groups


@contextlib.contextmanager
def capped(cap: int | None) -> Iterator[None]:
    """MJX-JAX's data made, and programs traced, in this context have room for `cap` contacts of each dimension.

    Upstream this is a custom numeric, `max_contact_points`, of the XML. It is not used because it would change
    Gymnasium's files, and because MJX reads it at the wrong place where there are other numerics (by id instead of by
    address, `mjx/_src/collision_driver.py:341-343`: with Ant's `init_qpos` it removes every contact).
    """

    def numeric(model: Any, name: str) -> int:
        return cap if name == "max_contact_points" and cap is not None else -1

    with _PATCHING:
        stock = collision_driver._numeric
        collision_driver._numeric = numeric
        try:
            yield
        finally:
            collision_driver._numeric = stock
