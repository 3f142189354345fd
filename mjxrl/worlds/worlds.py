"""The contract: what training, evaluation and Gymnasium's interface need of a batch of worlds, and nothing else.

Our own worlds (`vector_env`), other people's (`mjxrl.adapters`) and a class of your own are equals behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from mjxrl.storage.state import Stateful


class _Fields(NamedTuple):
    obs: Annotated[Tensor, "N O"]
    """What the policy sees next: the first observation of a new episode where one ended."""
    reward: Annotated[Tensor, "N"]
    terminated: Annotated[Tensor, "bool N"]
    """A terminal state was reached: nothing is left to bootstrap from."""
    truncated: Annotated[Tensor, "bool N"]
    """The episode was cut short, as by a time limit: bootstrap from `final_obs`."""
    final_obs: Annotated[Tensor, "N O"]
    """The true observation after the action, before any restart; equals `obs` where the episode goes on."""
    valid: Annotated[Tensor, "bool N"]
    """False where the step does not count: simulation or task broke down, which ends the episode, or the world took it
    to begin a new one. The numbers are zeros, or at least finite."""
    reward_terms: dict[str, Annotated[Tensor, "N"]]
    """Named parts of the reward, of which the mean is logged."""
    outcome: dict[str, Annotated[Tensor, "N"]]
    """Named numbers, of which the mean over episode ends is logged; `success` tells policies apart."""
    fault: Annotated[Tensor, "int N"] | None
    """Why a world is not valid, as `faults.faults` numbers it; None where that is not known."""


class StepResult(_Fields):
    """What one vector step gives, for N worlds; torch tensors outside, a backend's arrays inside its program."""

    __slots__ = ()

    def __new__(
        cls,
        obs: Tensor,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        final_obs: Tensor,
        valid: Tensor | None = None,
        reward_terms: dict[str, Tensor] | None = None,
        outcome: dict[str, Tensor] | None = None,
        fault: Tensor | None = None,
    ) -> StepResult:
        """By default all worlds are valid, the reward has no named parts, and nothing else is told of an episode."""
        valid = terminated | ~terminated if valid is None else valid
        return super().__new__(
            cls, obs, reward, terminated, truncated, final_obs, valid, reward_terms or {}, outcome or {}, fault
        )

    @property
    def done(self) -> Tensor:
        """(N,) bool, the episode ended, one way or the other."""
        return self.terminated | self.truncated

    @property
    def diverged(self) -> Tensor:
        """(N,) bool, the simulation broke down."""
        return self.done & ~self.valid


class Goals(NamedTuple):
    """Where observations hold goals, G numbers each, and what those are worth."""

    achieved: slice
    """Columns of what is achieved in an observation."""
    desired: slice
    """Columns of what is wanted."""
    threshold: float
    """Distance between the two within which a goal counts as reached."""
    reward: Callable[[Tensor, Tensor], Tensor]
    """Of achieved and desired goals, (..., G) each, the part of the reward that depends on them: (...)."""


class Worlds(Protocol):
    """N worlds that step together, each in an episode of its own. All tensors are on `device`, float32 or bool.

    A world whose episode ends restarts within that step. What was handed out keeps its values: later steps write into
    tensors of their own. Derive from this class: `dispatch`, `collect` and `reset` are all that must be written.
    """

    num_envs: int
    """N."""
    obs_size: int
    """O, numbers in an observation."""
    action_size: int
    """A, numbers in an action."""
    device: torch.device
    max_episode_steps: int | None = None
    """Steps after which episodes are truncated, and never sooner, but for the first ones; the replay then keeps each
    observation once. None: they may be truncated at any step, or not at all."""

    goals: Goals | None = None
    """Of tasks with goals, which may then be exchanged in hindsight."""

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin a new episode in every world; returns the first observations, (N, O).

        Args:
            seed: start all random numbers over; by default they go on.
        """
        ...

    def dispatch(self, action: Tensor) -> None:
        """Start a step under `action`, (N, A) in [-1, 1], and return at once if the step can go on by itself."""
        ...

    def collect(self) -> StepResult:
        """What the step that `dispatch` started gave."""
        ...

    def step(self, action: Tensor) -> StepResult:
        """`dispatch` and `collect` at once."""
        self.dispatch(action)
        return self.collect()

    def close(self) -> None:
        """Let go of processes and threads; nothing may be asked of the worlds afterwards."""


@runtime_checkable
class Resumable(Stateful, Protocol):
    """Worlds that can be saved: after `load_state_dict` they go on bit for bit as after the `state_dict` it is given.

    Worlds that are not begin fresh episodes where a run is resumed.
    """


@runtime_checkable
class CountsOverflows(Protocol):
    """Worlds that may lose contacts for want of room."""

    def overflows(self) -> int:
        """World steps so far in which that may have happened; waits for the device."""
        ...
