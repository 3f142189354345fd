"""What every network is made of: a layer's parameters, its product, and the functions between layers."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS = {"relu": torch.relu_, "silu": F.silu}  # in place: no backward needs the value before it


class Layer(NamedTuple):
    """One linear layer of E members and, if hidden, its activation.

    LayerNorm, with gain and shift (E, 1, out), comes between the two. BatchNorm, where there is a mean, comes before
    the layer: its gain and shift are (E, 1, in), and the first layer has none, whose own product they would repeat.
    """

    weight: Annotated[Tensor, "E in out"]
    bias: Annotated[Tensor, "E 1 out"]
    gain: Annotated[Tensor, "E 1 _"] | None
    shift: Annotated[Tensor, "E 1 _"] | None
    activation: str
    mean: Annotated[Tensor, "_ 1 in"] | None = None
    """Running mean of what goes in; all members of the first layer have one."""
    var: Annotated[Tensor, "_ 1 in"] | None = None
    in_blocks: bool = False
    """Of a network of residual blocks."""


def activated(layer: Layer, x: Tensor) -> Tensor:
    """A layer's product after LayerNorm, if it has that, and the activation."""
    if layer.gain is not None and layer.shift is not None:
        x = Affine.apply(F.layer_norm(x, x.shape[-1:]), layer.gain, layer.shift)
    return ACTIVATIONS[layer.activation](x)


def product(layer: Layer, x: Annotated[Tensor, "E B in"]) -> Annotated[Tensor, "E B out"]:
    """x W + b of every member."""
    if layer.weight.shape[-1] == 1:
        # A matrix product would have an outer product as its gradient, by far the slowest step of a critic update.
        return (unrounded(x) * layer.weight.transpose(1, 2)).sum(-1, keepdim=True) + layer.bias
    return torch.baddbmm(layer.bias, x.expand(len(layer.weight), -1, -1), layer.weight)


def plain_product(layer: Layer, x: Annotated[Tensor, "B in"]) -> Annotated[Tensor, "B out"]:
    """That of one member. On CPUs a batched one of a single member is slower, its gradient by a third."""
    return torch.addmm(layer.bias.view(-1), x, layer.weight.squeeze(0))


def unrounded(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x.float() if x.dtype == torch.bfloat16 else x


class Affine(torch.autograd.Function):
    """x gain + shift, members (E, 1, in) apart. The gradient of torch's own `addcmul` has two multiplications by 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain)
        return torch.addcmul(shift, x, gain)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (out,), (x, gain) = gradients, ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return out * gain, None, None
        return out * gain, (out * x).sum(1, keepdim=True), out.sum(1, keepdim=True)
