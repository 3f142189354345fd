"""What networks compute, actors and ensembles of critics: multilayer perceptrons, or residual blocks.

The functions take a list of layers, so that a loss can name whose weights it uses: `network.layers` (trained),
`network.frozen` (the same numbers, no gradient) or a target's. They compute in the layers' precision and answer in
float32 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mjxrl.networks import batch_norm, blocks
from mjxrl.networks.layers import Layer, activated, plain_product, product, unrounded


def actor_outputs(layers: Sequence[Layer], obs: Annotated[Tensor, "B O"]) -> Annotated[Tensor, "B out"]:
    """The raw outputs of an actor: one member, no LayerNorm; with BatchNorm, under the layers' own statistics."""
    if layers[0].mean is not None:
        return unrounded(batch_norm.plain_outputs(layers, obs))
    return _outputs(layers, plain_product(layers[0], obs.to(layers[0].weight.dtype)), plain_product)


def critic_outputs(
    layers: Sequence[Layer], obs: Annotated[Tensor, "B O"], action: Annotated[Tensor, "B A"]
) -> Annotated[Tensor, "E B out"]:
    """What E critics say; those with BatchNorm, under their running statistics."""
    if layers[0].mean is not None:
        return unrounded(batch_norm.running_outputs(layers, obs, action))
    first, members, split = layers[0], layers[0].weight.shape[0], obs.shape[-1]
    obs, action = obs.to(first.weight.dtype), action.to(first.weight.dtype)
    if action.requires_grad:
        # The policy gradient asks for dQ/da only; kept apart, the product with the observation needs no gradient.
        x = torch.baddbmm(first.bias, obs.expand(members, -1, -1), first.weight[:, :split])
        x = torch.baddbmm(x, action.expand(members, -1, -1), first.weight[:, split:])
    else:
        x = product(first, torch.cat([obs, action], -1))
    return _outputs(layers, x, product)


def _outputs(layers: Sequence[Layer], x: Tensor, product: Callable[[Layer, Tensor], Tensor]) -> Tensor:
    """What a network says, given the product of its first layer."""
    if layers[0].in_blocks:
        return unrounded(blocks.outputs(layers, x, product))
    x = activated(layers[0], x)
    for layer in layers[1:-1]:
        x = activated(layer, product(layer, x))
    return unrounded(product(layers[-1], x))


def first_member(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of Q_1 alone, as an ensemble of one."""
    return [Layer._make(part[:1] if isinstance(part, Tensor) else part for part in layer) for layer in layers]
