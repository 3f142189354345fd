"""MJX physics with NVIDIA Warp's kernels, float32; on a CPU it runs too, slowly, which serves for parity tests."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx
from mujoco.mjx.third_party.mujoco_warp._src.types import OverflowType

from mjxrl.physics import AFTER_THE_STEP, contacts, plane_capsule
from mjxrl.physics.mjx import MjxPhysics

warp: Any = importlib.import_module("warp")  # an extra: types are checked without it too
warp.config.log_level = warp.LOG_WARNING  # else it prints a line per kernel

# Warp notes in each world what ran out; the solver's iterations do so by design
_DROPPED = int(OverflowType.ALL) & ~int(OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS)


class WarpPhysics(MjxPhysics):
    """`Physics` on MJX with `impl="warp"`.

    Contacts of all worlds share one array, which has no batch axis: a reset therefore merges only the fields it names
    (as `Data.where` would, which leaves those arrays alone), and the next step finds the contacts anew.
    """

    backend = "warp"
    _wrong = frozenset({"cacc", "cfrc_int"})  # computed within the step, before the velocities that C's are made of

    def _put_model(self) -> None:
        plane_capsule.correct_warp(self._correct_frames)
        self._sizes = contacts.warp_sizes(self._task, self.num_envs, self._cap)
        # By default a graph is captured for every set of buffer addresses that XLA happens to use. Staged graphs are
        # captured once a program, whatever the addresses, and copy their arguments in and out.
        modes = warp.JaxCallableGraphMode
        mode = modes.WARP_STAGED if jax.default_backend() == "gpu" else modes.JAX
        model = mjx.put_model(self._mj_model, impl="warp", graph_mode=mode)
        self._model = model.tree_replace(
            {
                "opt._impl.run_rne_postconstraint": not AFTER_THE_STEP.isdisjoint(self._fields),
                "opt._impl.warn_overflow": 0,  # counted here instead of printed by every world
            }
        )

    def _make_data(self) -> mjx.Data:
        return mjx.make_data(self._mj_model, impl="warp", naconmax=self._sizes.naconmax, njmax=self._sizes.njmax)

    def _finish(self, data: mjx.Data) -> mjx.Data:
        return data

    def _recompute(self, data: mjx.Data, wanted: set[str]) -> mjx.Data:
        return mjx.forward(self._model, data)

    def _overflown(self, data: mjx.Data) -> tuple[mjx.Data, jax.Array]:
        overflow = data._impl.overflow
        cleared = data.tree_replace({"_impl.overflow": jnp.zeros_like(overflow)})
        return cleared, (overflow & _DROPPED) != 0

    @contextlib.contextmanager
    def _as_configured(self) -> Any:
        yield
