"""Analytic physics on jax; a file of its own, since the native backend imports no jax."""

from __future__ import annotations

import jax

from mjxrl.physics.analytic import AnalyticPhysics, AnalyticState
from mjxrl.physics.jax_arrays import JaxArrays, committed


class JaxAnalyticPhysics(JaxArrays, AnalyticPhysics):
    """`Physics` of an analytic task in float32 on jax."""

    def init(self, seed: int) -> tuple[AnalyticState, jax.Array]:
        return committed(self.default(), seed)
