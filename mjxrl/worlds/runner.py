"""What steps a backend's program for torch: `dispatch` starts a step and returns at once, `collect` waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from mjxrl.worlds.program import EnvState
from mjxrl.worlds.worlds import StepResult

Program = Callable[[EnvState, Any], tuple[EnvState, StepResult]]


class Runner(Protocol):
    """Runs a backend's programs for torch."""

    state: EnvState
    """Between `dispatch` and `collect` the one before the step, whose arrays may be gone."""

    @property
    def busy(self) -> bool:
        """Whether a step was dispatched and not yet collected."""
        ...

    def compile(self, program: Callable[..., Any]) -> Callable[..., Any]:
        """The program as the backend runs it (jitted on jax)."""
        ...

    def program_bytes(self, program: Any, state: EnvState, action: Tensor) -> int | None:
        """Bytes of state, results and temporaries of a `program` from `compile`, by the compiler's own account, if it
        gives one. Nothing runs."""
        ...

    def dispatch(self, program: Program, action: Tensor) -> None:
        """Start `program` on the current state and `action` `(N, A)`; returns without waiting for it.

        Raises:
            RuntimeError: a step is under way already.
        """
        ...

    def collect(self) -> StepResult:
        """Wait for the step that was dispatched and return its results as torch tensors on the runner's device."""
        ...

    def step(self, program: Program, action: Tensor) -> StepResult:
        """`dispatch` and `collect` at once."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Copies of everything in `state`, on the host, by path."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put back what `save` gave, in place of a state of the same worlds.

        Raises:
            MisfitError: it does not fit them.
        """
        ...

    def to_torch(self, array: Any) -> Tensor:
        """An array of the backend as a float32 or bool tensor on the runner's device."""
        ...

    def from_torch(self, tensor: Tensor) -> Any:
        """A tensor as an array of the backend."""
        ...

    def close(self) -> None:
        """Let go of the thread that steps the worlds."""
        ...


Dispatched = TypeVar("Dispatched")


def on_host(array: Any) -> np.ndarray:
    """A copy of any backend's array, on the host."""
    return np.array(array.cpu() if isinstance(array, Tensor) else array)


def require_idle(runner: Runner) -> None:
    """Raise RuntimeError while a step is under way, whose state nobody may touch."""
    if runner.busy:
        raise RuntimeError("a step is under way: collect it first")


def require_step(pending: Future[Dispatched] | None) -> Future[Dispatched]:
    """`pending`, or RuntimeError if there is none."""
    if pending is None:
        raise RuntimeError("no step was dispatched")
    return pending
