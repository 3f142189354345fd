"""Networks with BatchNorm (Ioffe and Szegedy 2015, arXiv 1502.03167), before each layer, the first one included.

Bhatt et al. (2024), "CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample Efficiency and
Simplicity", arXiv 1902.05605: (s, a) and (s', a') go through the critics in one batch, so that both are normalised by
the statistics of both, and no target network is needed. The policy's gradient takes running statistics. An actor has
those of the batch in its own loss, and running ones wherever else it acts, as in the authors' code and SBX's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from mjxrl.networks.layers import ACTIVATIONS, Layer, plain_product, product, unrounded

EPSILON = 1e-3  # added to variances, as in the authors' code
MOMENTUM = 0.99  # of the running statistics, per update


class Joint(NamedTuple):
    """What critics say of both halves of a batch, and what they were normalised by."""

    outputs: Annotated[Tensor, "E B out"]
    """Of (s, a)."""
    next_outputs: Annotated[Tensor, "E B out"]
    """Of (s', a'), without gradient."""
    drift: Annotated[Tensor, "S"]
    """How far means and variances of the batch are from the running ones, layer by layer; 0 if no row is valid."""


def running_outputs(
    layers: Sequence[Layer], obs: Annotated[Tensor, "B O"], action: Annotated[Tensor, "B A"]
) -> Annotated[Tensor, "E B out"]:
    """What E critics say under their running statistics."""
    first, split = layers[0], obs.shape[-1]
    mean, var = _running(first)
    # The policy gradient asks for dQ/da only; kept apart, the product with the observation needs no gradient.
    obs = _normalised(first, obs, mean[..., :split], var[..., :split])
    action = _normalised(first, action, mean[..., split:], var[..., split:])
    members = len(first.weight)
    x = torch.baddbmm(first.bias, obs.expand(members, -1, -1), first.weight[:, :split])
    x = torch.baddbmm(x, action.expand(members, -1, -1), first.weight[:, split:])
    for layer in layers[1:]:
        x = product(layer, _normalised(layer, ACTIVATIONS[layer.activation](x), *_running(layer)))
    return x


def joint_outputs(
    layers: Sequence[Layer],
    next_layers: Sequence[Layer],
    inputs: tuple[Annotated[Tensor, "B O"], Annotated[Tensor, "B A"]],
    next_inputs: tuple[Annotated[Tensor, "B O"], Annotated[Tensor, "B A"]],
    valid: Annotated[Tensor, "B"],
) -> Joint:
    """(Q(s, a), Q(s', a')), normalised by the statistics of the valid rows of both.

    `next_layers` compute the second half: the same `layers` as in the paper, whose gradient then also goes through what
    (s', a') contributes to the statistics; or the same numbers without gradient, which is faster: (s', a') is then a
    constant in the statistics.
    """
    through_both = next_layers is layers
    weight = _weight(valid, halves=2)
    x, y = torch.cat(inputs, -1).unsqueeze(0), torch.cat(next_inputs, -1).unsqueeze(0)
    moments = []
    for i, (layer, next_layer) in enumerate(zip(layers, next_layers, strict=True)):
        if i:
            x, y = ACTIVATIONS[layer.activation](x), ACTIVATIONS[layer.activation](y)
        mean = _sum(weight * x) + _sum(weight * y)
        center = mean.detach()  # whose gradient here is 0: a variance is least around its mean
        var = _sum(weight * (x - center).square()) + _sum(weight * (y - center).square())
        moments.append((mean, var))
        x = product(layer, _normalised(layer, x, mean, var))
        of_next = (mean, var) if through_both else (mean.detach(), var.detach())
        y = product(next_layer, _normalised(next_layer, y, *of_next))
    return Joint(unrounded(x), unrounded(y.detach()), _drift(layers, moments, valid))


def plain_outputs(layers: Sequence[Layer], x: Annotated[Tensor, "B in"]) -> Annotated[Tensor, "B out"]:
    """What a network of one member says under the layers' statistics."""
    for i, layer in enumerate(layers):
        x = ACTIVATIONS[layer.activation](x) if i else x
        x = plain_product(layer, _normalised(layer, x, *_running(layer)).squeeze(0))
    return x


def under_batch(
    layers: Sequence[Layer], x: Annotated[Tensor, "B in"], valid: Annotated[Tensor, "B"]
) -> tuple[list[Layer], Annotated[Tensor, "S"]]:
    """Layers of one member that have the statistics of a batch's valid rows, which a gradient goes through, in place of
    the running ones; and how far those are from these, layer by layer, 0 if no row is valid.

    What the layers make of the batch is computed here and once more by who uses them; compiled, once.
    """
    weight, under, moments = _weight(valid), [], []
    for i, layer in enumerate(layers):
        if i:
            x = ACTIVATIONS[layer.activation](plain_outputs(under[-1:], x))
        mean = _sum((weight * x).unsqueeze(0))
        var = _sum(weight * (x - mean.detach()).square())  # detached: see above
        moments.append((mean, var))
        under.append(layer._replace(mean=mean, var=var))
    return under, _drift(layers, moments, valid)


def _weight(valid: Annotated[Tensor, "B"], halves: int = 1) -> Annotated[Tensor, "B 1"]:
    """Of each row in a mean over the valid ones of so many halves."""
    weight = (valid > 0).to(valid.dtype).unsqueeze(-1)
    return weight / (halves * weight.sum()).clamp(min=1)


def _drift(
    layers: Sequence[Layer], moments: Sequence[tuple[Tensor, Tensor]], valid: Annotated[Tensor, "B"]
) -> Annotated[Tensor, "S"]:
    """How far a batch's means and variances are from the running ones, layer by layer; 0 if no row is valid."""
    found = torch.cat([x.detach().reshape(-1) for of_layer in moments for x in of_layer])
    known = torch.cat([x.reshape(-1) for layer in layers for x in _running(layer)])
    return torch.where(valid.any(), found - known, 0)


def _sum(x: Annotated[Tensor, "E B in"]) -> Annotated[Tensor, "E 1 in"]:
    return x.sum(-2, keepdim=True)


def _running(layer: Layer) -> tuple[Tensor, Tensor]:
    assert layer.mean is not None and layer.var is not None
    return layer.mean, layer.var


def _normalised(layer: Layer, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    x = (x - mean) * torch.rsqrt(var + EPSILON)
    x = x if layer.gain is None or layer.shift is None else torch.addcmul(layer.shift, x, layer.gain)
    return x.to(layer.weight.dtype)
