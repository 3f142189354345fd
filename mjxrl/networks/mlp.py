"""Networks: multilayer perceptrons with stacked members, over one flat buffer of parameters.

A `Network` holds data, the functions below compute. They take a list of layers, so that a loss can name whose weights
it uses: `network.layers` (trained), `network.frozen` (the same numbers, no gradient) or a target's.

All parameters of a network are views of one flat tensor, which makes an optimizer step and Polyak averaging one kernel
each; members of an ensemble are stacked, which makes a layer one batched matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Layer(NamedTuple):
    """One linear layer of E members, followed by LayerNorm if it has a gain and, if hidden, by its activation."""

    weight: Tensor
    """(E, in, out)"""
    bias: Tensor
    """(E, 1, out)"""
    gain: Tensor | None
    """(E, 1, out) of LayerNorm"""
    shift: Tensor | None
    """(E, 1, out) of LayerNorm"""
    activation: str = "relu"
    """relu | silu, after a hidden layer"""


class Network:
    """The parameters of E multilayer perceptrons of the same shape.

    Weights and biases start uniform in +-1/sqrt(inputs), as torch.nn.Linear's do, each member's its own.

    Args:
        sizes: units of the input, the hidden layers and the output.
        members: E.
        layer_norm: LayerNorm after each hidden layer.
        activation: of the hidden layers, relu or silu.
        output_scale: factor on the initial output layer; a small one makes the first outputs small.
        generator: draws the initial values; on the CPU, so that every device starts from the same numbers.
        device: where the parameters live.
        dtype: of the parameters.

    Raises:
        ValueError: there is no hidden layer.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        members: int = 1,
        layer_norm: bool = False,
        activation: str = "relu",
        output_scale: float = 1.0,
        generator: torch.Generator,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(sizes) < 3:
            raise ValueError(f"a network needs at least one hidden layer, got sizes {tuple(sizes)}")
        initial: dict[str, Tensor] = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            is_output = i == len(sizes) - 2
            bound = (output_scale if is_output else 1.0) / math.sqrt(fan_in)
            initial[f"{i}.weight"] = _uniform((members, fan_in, fan_out), bound, generator)
            initial[f"{i}.bias"] = _uniform((members, 1, fan_out), bound, generator)
            if layer_norm and not is_output:
                initial[f"{i}.gain"] = torch.ones(members, 1, fan_out)
                initial[f"{i}.shift"] = torch.zeros(members, 1, fan_out)
        self._bind({name: tensor.to(device, dtype) for name, tensor in initial.items()}, activation)

    def _bind(self, values: dict[str, Tensor], activation: str) -> None:
        self._activation = activation
        self.flat = torch.cat([value.reshape(-1) for value in values.values()])
        views = self.flat.split([value.numel() for value in values.values()])
        self._named = {name: view.view(values[name].shape) for name, view in zip(values, views, strict=True)}
        trained = {name: view.detach().requires_grad_() for name, view in self._named.items()}
        self.frozen = _layers(self._named, activation)
        self.layers = _layers(trained, activation)
        self.parameters = list(trained.values())

    def copy(self) -> Network:
        """A network with the same values and its own storage: a target."""
        twin = object.__new__(Network)
        twin._bind(self._named, self._activation)
        return twin

    @torch.no_grad()
    def follow(self, source: Network, tau: float) -> None:
        """Polyak averaging, theta' <- tau theta + (1 - tau) theta' (Lillicrap et al. 2015, arXiv 1509.02971)."""
        self.flat.lerp_(source.flat, tau)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the parameters by name."""
        return {name: tensor.clone() for name, tensor in self._named.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy saved parameters in."""
        for name, tensor in self._named.items():
            tensor.copy_(state[name])


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _layers(named: dict[str, Tensor], activation: str) -> list[Layer]:
    count = len({name.split(".")[0] for name in named})
    return [
        Layer(named[f"{i}.weight"], named[f"{i}.bias"], named.get(f"{i}.gain"), named.get(f"{i}.shift"), activation)
        for i in range(count)
    ]


def _activate(layer: Layer, x: Tensor) -> Tensor:
    if layer.gain is not None and layer.shift is not None:
        x = torch.addcmul(layer.shift, F.layer_norm(x, x.shape[-1:]), layer.gain)
    if layer.activation == "silu":
        return F.silu(x)
    return F.relu(x, inplace=True)  # no backward needs the value before it


def _output(layer: Layer, x: Tensor) -> Tensor:
    """(E, B, in) to (E, B, out)."""
    if layer.weight.shape[-1] == 1:
        # A matrix product would have an outer product as its gradient, by far the slowest step of a critic update.
        return (x * layer.weight.transpose(1, 2)).sum(-1, keepdim=True) + layer.bias
    return torch.baddbmm(layer.bias, x, layer.weight)


def actor_outputs(layers: Sequence[Layer], obs: Tensor) -> Tensor:
    """(B, O) normalised observations to the raw outputs, (B, out), of an actor: one member, no LayerNorm."""
    x = obs
    for i, layer in enumerate(layers):
        # Plain products: on CPUs a batched one of a single member is slower, its gradient by a third.
        x = torch.addmm(layer.bias.view(-1), x, layer.weight.squeeze(0))
        if i < len(layers) - 1:
            x = _activate(layer, x)
    return x.to(obs.dtype)  # autocast ends here


def critic_outputs(layers: Sequence[Layer], obs: Tensor, action: Tensor) -> Tensor:
    """What E critics say of (B, O) normalised observations and (B, A) actions: (E, B, outputs)."""
    first, members, split = layers[0], layers[0].weight.shape[0], obs.shape[-1]
    if action.requires_grad:
        # The policy gradient asks for dQ/da only; kept apart, the product with the observation needs no gradient.
        x = torch.baddbmm(first.bias, obs.expand(members, -1, -1), first.weight[:, :split])
        x = torch.baddbmm(x, action.expand(members, -1, -1), first.weight[:, split:])
    else:
        x = torch.cat([obs, action], -1).expand(members, -1, -1)
        x = torch.baddbmm(first.bias, x, first.weight)
    x = _activate(first, x)
    for layer in layers[1:-1]:
        x = _activate(layer, torch.baddbmm(layer.bias, x, layer.weight))
    return _output(layers[-1], x).to(obs.dtype)  # autocast ends here


def q_values(layers: Sequence[Layer], obs: Tensor, action: Tensor) -> Tensor:
    """Q_1 .. Q_E, (E, B), of critics whose one output is the value."""
    return critic_outputs(layers, obs, action)[..., 0]


def first_member(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of Q_1 alone, as an ensemble of one."""
    return [
        layer._replace(
            weight=layer.weight[:1],
            bias=layer.bias[:1],
            gain=None if layer.gain is None else layer.gain[:1],
            shift=None if layer.shift is None else layer.shift[:1],
        )
        for layer in layers
    ]
