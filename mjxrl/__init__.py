"""Off-policy training of MuJoCo control policies on one device, physics, replay and learner together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mjxrl.adapters.registered import register
from mjxrl.machine import graphics

if TYPE_CHECKING:
    from mjxrl.adapters import sb3 as sb3
    from mjxrl.policy.policy import load_policy as load_policy
    from mjxrl.worlds.vector_env import make_vec as make_vec

__version__ = "0.1.0"
__all__ = ["load_policy", "make_vec"]


def __getattr__(name: str) -> Any:
    # imported on use: torch and jax take seconds, and jax must be configured before it is imported
    if name == "make_vec":
        from mjxrl.worlds.vector_env import make_vec

        return make_vec
    if name == "load_policy":
        from mjxrl.policy.policy import load_policy

        return load_policy
    if name == "sb3":
        from mjxrl.adapters import sb3

        return sb3
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


graphics.choose()  # now, since MuJoCo reads it when it is imported
register()  # gymnasium.make_vec("mjxrl/Ant-v5", ...)
