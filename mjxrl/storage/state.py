"""Saving and loading the parts of a learner under flat names, `<part>.<tensor>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

State = dict[str, Tensor]


class Stateful(Protocol):
    """A part of a learner: `state_dict` gives copies, `load_state_dict` copies in."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


def flatten(parts: Mapping[str, Stateful]) -> State:
    """Copies of all tensors of all parts."""
    return {f"{part}.{name}": value for part, owner in parts.items() for name, value in owner.state_dict().items()}


def restore(parts: Mapping[str, Stateful], state: State) -> None:
    """Copy what `flatten` gave back in."""
    for part, owner in parts.items():
        prefix = f"{part}."
        owner.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})


def check_fit(state: State, expected: State) -> None:
    """Compare names and shapes.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; the message names each.
    """
    problems = [f"{name} is missing" for name in expected.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise ValueError("the saved learner does not fit this configuration: " + "; ".join(sorted(problems)))
