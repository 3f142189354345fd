"""Programs of jax that are compiled for one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

HASTY: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of the compiler with which a long program is compiled several times sooner, and runs slower."""


def compiled(function: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """`function` compiled hastily for `args`."""
    return jax.jit(function).lower(*args).compile(compiler_options=HASTY)
