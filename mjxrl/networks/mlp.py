"""What multilayer perceptrons compute, actors and ensembles of critics.

The functions take a list of layers, so that a loss can name whose weights it uses: `network.layers` (trained),
`network.frozen` (the same numbers, no gradient) or a target's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from mjxrl.networks import batch_norm
from mjxrl.networks.layers import ACTIVATIONS, Layer, product


def _activate(layer: Layer, x: Tensor) -> Tensor:
    if layer.gain is not None and layer.shift is not None:
        x = torch.addcmul(layer.shift, F.layer_norm(x, x.shape[-1:]), layer.gain)
    return ACTIVATIONS[layer.activation](x)


def actor_outputs(layers: Sequence[Layer], obs: Annotated[Tensor, "B O"]) -> Annotated[Tensor, "B out"]:
    """The raw outputs of an actor: one member, no LayerNorm."""
    x = obs
    for i, layer in enumerate(layers):
        # Plain products: on CPUs a batched one of a single member is slower, its gradient by a third.
        x = torch.addmm(layer.bias.view(-1), x, layer.weight.squeeze(0))
        if i < len(layers) - 1:
            x = _activate(layer, x)
    return x.to(obs.dtype)  # autocast ends here


def critic_outputs(
    layers: Sequence[Layer], obs: Annotated[Tensor, "B O"], action: Annotated[Tensor, "B A"]
) -> Annotated[Tensor, "E B out"]:
    """What E critics say; those with BatchNorm, under their running statistics."""
    if layers[0].mean is not None:
        return batch_norm.running_outputs(layers, obs, action).to(obs.dtype)
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
    return product(layers[-1], x).to(obs.dtype)  # autocast ends here


def first_member(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of Q_1 alone, as an ensemble of one."""
    return [Layer._make(part[:1] if isinstance(part, Tensor) else part for part in layer) for layer in layers]
