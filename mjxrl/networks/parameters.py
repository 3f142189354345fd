"""The parameters of a network: one flat tensor, of which all are views, stacked over the members of an ensemble.

One tensor makes an optimizer step and Polyak averaging one kernel each; stacking makes a layer one batched product.
Where products are to be of lower precision, losses are of a rounded copy of it, made once per step: gradients come back
to the full numbers, which steps and averages add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mjxrl.errors import MisfitError
from mjxrl.networks.batch_norm import MOMENTUM
from mjxrl.networks.layers import Layer
from mjxrl.networks.spec import NetworkSpec
from mjxrl.storage.state import State, flatten, restore

ETA = 9  # of an average in its first steps, whose weight is in the newest tenth or so


class Network:
    """The parameters of what `spec` describes, and its running statistics, with copies of these values, by name.

    Args:
        products: what losses compute in; None: as the values are.

    Raises:
        MisfitError: a value is missing or of another shape.

    Attributes:
        flat: (P,) all parameters in full precision.
        rounded: (P,) the same for `products`; itself `flat` where those are of the same precision.
        layers: of `rounded`, which losses are differentiated by; `parameters` lists their tensors in order.
        frozen: the same numbers without a gradient.
        exact: of `flat`, without a gradient: who acts.
    """

    def __init__(self, spec: NetworkSpec, values: Mapping[str, Tensor], products: torch.dtype | None = None) -> None:
        shapes = spec.shapes | spec.statistics
        if misfits := [name for name, shape in shapes.items() if name not in values or values[name].shape != shape]:
            raise MisfitError(f"parameters do not fit the network: {', '.join(misfits)}")
        self.spec = spec
        self.flat = _flat(values, spec.shapes)
        self.rounded = self.flat.to(products or self.flat.dtype)
        self.statistics = _flat(values, spec.statistics) if spec.statistics else None
        running = {} if self.statistics is None else _views(self.statistics, spec.statistics)
        self._named, rounded = _views(self.flat, spec.shapes) | running, _views(self.rounded, spec.shapes)
        trained = {name: view.detach().requires_grad_() for name, view in rounded.items()}
        self.parameters = list(trained.values())
        named = self._named, rounded | running, trained | running
        self.exact, self.frozen, self.layers = (_layers(spec, tensors) for tensors in named)

    @property
    def moving(self) -> list[Tensor]:
        """What an average follows: all parameters, and the running statistics if there are any."""
        return [self.flat] if self.statistics is None else [self.flat, self.statistics]

    def copy(self) -> Network:
        """A network with the same values and its own storage: a target."""
        return Network(self.spec, self._named, self.rounded.dtype)

    @torch.no_grad()
    def observe(self, drift: Annotated[Tensor, "S"]) -> None:
        """Move the running statistics towards a batch's, which are so far away, in the order of `spec.statistics`."""
        if self.statistics is not None:
            self.statistics.add_(drift, alpha=1 - MOMENTUM)

    def state_dict(self) -> State:
        """Copies of parameters and statistics by name."""
        return flatten(self._named)

    def load_state_dict(self, state: State) -> None:
        """Copy saved ones in."""
        restore(self._named, state)
        refresh([self])


@torch.no_grad()
def refresh(networks: Sequence[Network]) -> None:
    """Round anew what steps, averages or a restored state have changed."""
    stale = [network for network in networks if network.rounded is not network.flat]
    if stale:
        rounded, exact = [network.rounded for network in stale], [network.flat for network in stale]
        torch._foreach_copy_(rounded, exact)  # pyright: ignore[reportPrivateImportUsage]


@torch.no_grad()
def follow(targets: Sequence[Network], sources: Sequence[Network], tau: float) -> None:
    """Polyak averaging, theta' <- tau theta + (1 - tau) theta' (Lillicrap et al. 2015, arXiv 1509.02971)."""
    if targets:
        slow, fast = ([x for network in side for x in network.moving] for side in (targets, sources))
        torch._foreach_lerp_(slow, fast, tau)  # pyright: ignore[reportPrivateImportUsage]
        refresh(targets)


@torch.no_grad()
def average(mean: Network, network: Network, fraction: float, made: Annotated[Tensor, ""]) -> None:
    """A moving average of what a network was after each of its steps, the first of which is `made` = 1.

    It moves by `fraction`, at first by more, as polynomial-decay averaging does (Shamir and Zhang 2013, arXiv
    1212.1824, section 4): the first weights are nothing but random.
    """
    share = ((ETA + 1) / (made + ETA)).clamp(min=fraction)
    for slow, fast in zip(mean.moving, network.moving, strict=True):
        slow.lerp_(fast, share.to(slow.dtype))


def new_network(
    spec: NetworkSpec,
    generator: torch.Generator,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    output_scale: float = 1.0,
    products: torch.dtype | None = None,
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
            bound = (output_scale if int(layer) == len(spec.products) - 1 else 1.0) / math.sqrt(fan_in)
            values[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    values |= {name: torch.full(shape, float(name.endswith("var"))) for name, shape in spec.statistics.items()}
    return Network(spec, {name: value.to(device, dtype) for name, value in values.items()}, products)


def _layers(spec: NetworkSpec, named: dict[str, Tensor]) -> list[Layer]:
    vectors = "gain", "shift", "mean", "var"
    return [
        Layer(
            named[f"{i}.weight"],
            named[f"{i}.bias"],
            activation=spec.activation,
            in_blocks=spec.blocks,
            **{name: named.get(f"{i}.{name}") for name in vectors},
        )
        for i in range(len(spec.products))
    ]


def _flat(values: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Tensor:
    return torch.cat([values[name].reshape(-1) for name in shapes])


def _views(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
