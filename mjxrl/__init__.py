"""Off-policy training of MuJoCo control policies on one device, physics, replay and learner together."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

_here = Path(__file__).parent
if not (_here / "envs").is_dir():  # a checkout without links, as on Windows: mjxrl.envs is beside mjxrl
    __path__.append(str(_here.parent))

from mjxrl.adapters.registered import register  # noqa: E402
from mjxrl.machine import graphics, threads  # noqa: E402

if TYPE_CHECKING:
    from mjxrl.adapters import sb3 as sb3
    from mjxrl.policy.policy import load_policy as load_policy
    from mjxrl.training.trainer import Trainer as Trainer
    from mjxrl.worlds.vector_env import make_vec as make_vec
    from mjxrl.worlds.worlds import StepResult as StepResult
    from mjxrl.worlds.worlds import Worlds as Worlds

__version__ = "0.1.0"
__all__ = ["StepResult", "Trainer", "Worlds", "load_policy", "make_vec"]

# imported on use: torch and jax take seconds, and jax must be configured before it is imported
_PLACES = {
    "StepResult": "mjxrl.worlds.worlds",
    "Trainer": "mjxrl.training.trainer",
    "Worlds": "mjxrl.worlds.worlds",
    "load_policy": "mjxrl.policy.policy",
    "make_vec": "mjxrl.worlds.vector_env",
    "sb3": "mjxrl.adapters.sb3",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_PLACES[name])
    return getattr(module, name, module)  # sb3 is a module itself


graphics.choose()  # now, since MuJoCo reads it when it is imported
threads.spin_briefly()  # as does torch's OpenMP
register()  # gymnasium.make_vec("mjxrl/Ant-v5", ...)
