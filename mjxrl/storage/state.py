"""What is saved, as tensors under flat names: `<part>.<tensor>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from mjxrl.errors import MisfitError

State = dict[str, Tensor]
T = TypeVar("T")


@runtime_checkable
class Stateful(Protocol):
    """Something whose `state_dict` gives copies, and whose `load_state_dict` copies in."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State, /) -> None: ...


Part = Tensor | Stateful


def flatten(parts: Mapping[str, Part | State]) -> State:
    """Copies of all tensors of all parts; a tensor has its part's name, those of others `<part>.<name>`."""
    state: State = {}
    for name, part in parts.items():
        if isinstance(part, Tensor):
            state[name] = part.clone()
        else:
            content = flatten(part) if isinstance(part, dict) else part.state_dict()
            state |= {f"{name}.{key}": value for key, value in content.items()}
    return state


def restore(parts: Mapping[str, Part], state: Mapping[str, Tensor]) -> None:
    """Copy what `flatten` gave back in: no tensor is rebound."""
    for name, part in parts.items():
        if isinstance(part, Tensor):
            part.copy_(state[name])
        else:
            part.load_state_dict(part_of(state, name))


def part_of(state: Mapping[str, T], name: str) -> dict[str, T]:
    """What a state holds of one part, under the names that the part gave."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def check_fit(state: State, expected: State) -> None:
    """Compare names and shapes.

    Raises:
        MisfitError: a tensor is missing, unknown or of another shape; the message names each.
    """
    problems = [f"{name} is missing" for name in expected.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise MisfitError("the saved learner does not fit this configuration: " + "; ".join(sorted(problems)))
