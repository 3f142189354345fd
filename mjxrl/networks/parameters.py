"""The parameters of a network: one flat tensor, of which all are views, stacked over the members of an ensemble.

One tensor makes an optimizer step and Polyak averaging one kernel each; stacking makes a layer one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from mjxrl.errors import MisfitError
from mjxrl.networks.spec import NetworkSpec
from mjxrl.storage.state import State, flatten, restore


class Layer(NamedTuple):
    """One linear layer of E members, followed by LayerNorm if it has a gain and, if hidden, by its activation."""

    weight: Annotated[Tensor, "E in out"]
    bias: Annotated[Tensor, "E 1 out"]
    gain: Annotated[Tensor, "E 1 out"] | None
    shift: Annotated[Tensor, "E 1 out"] | None
    activation: str


class Network:
    """The parameters of what `spec` describes, with copies of these values, by name.

    Raises:
        MisfitError: a value is missing or of another shape.
    """

    def __init__(self, spec: NetworkSpec, values: Mapping[str, Tensor]) -> None:
        shapes = spec.shapes
        if misfits := [name for name, shape in shapes.items() if name not in values or values[name].shape != shape]:
            raise MisfitError(f"parameters do not fit the network: {', '.join(misfits)}")
        self.spec = spec
        self.flat = torch.cat([values[name].reshape(-1) for name in shapes])
        views = self.flat.split([math.prod(shape) for shape in shapes.values()])
        self._named = {name: view.view(shapes[name]) for name, view in zip(shapes, views, strict=True)}
        trained = {name: view.detach().requires_grad_() for name, view in self._named.items()}
        self.frozen, self.layers = _layers(spec, self._named), _layers(spec, trained)
        self.parameters = list(trained.values())

    def copy(self) -> Network:
        """A network with the same values and its own storage: a target."""
        return Network(self.spec, self._named)

    @torch.no_grad()
    def follow(self, source: Network, tau: float) -> None:
        """Polyak averaging, theta' <- tau theta + (1 - tau) theta' (Lillicrap et al. 2015, arXiv 1509.02971)."""
        self.flat.lerp_(source.flat, tau)

    def state_dict(self) -> State:
        """Copies of the parameters by name."""
        return flatten(self._named)

    def load_state_dict(self, state: State) -> None:
        """Copy saved parameters in."""
        restore(self._named, state)


def new_network(
    spec: NetworkSpec,
    generator: torch.Generator,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    output_scale: float = 1.0,
) -> Network:
    """A network with weights and biases uniform in +-1/sqrt(inputs), as torch.nn.Linear's, each member's its own.

    The generator is the CPU's, so that every device starts from the same numbers. The last layer's are multiplied by
    `output_scale`; a small one makes the first outputs small.
    """
    values: State = {}
    for name, shape in spec.shapes.items():
        layer, kind = name.split(".")
        fan_in, _ = spec.products[int(layer)]
        if kind in ("gain", "shift"):
            values[name] = torch.full(shape, float(kind == "gain"))
        else:
            bound = (output_scale if int(layer) == len(spec.hidden) else 1.0) / math.sqrt(fan_in)
            values[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return Network(spec, {name: value.to(device, dtype) for name, value in values.items()})


def _layers(spec: NetworkSpec, named: dict[str, Tensor]) -> list[Layer]:
    act = spec.activation
    return [
        Layer(named[f"{i}.weight"], named[f"{i}.bias"], named.get(f"{i}.gain"), named.get(f"{i}.shift"), act)
        for i in range(len(spec.products))
    ]
