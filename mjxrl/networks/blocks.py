"""Residual blocks with RMSNorm: x + W2 f(W1 |x|), four times as wide inside; |x| also in front of the last layer.

After Lee et al. (2024), "SimBa: Simplicity Bias for Scaling Up Parameters in Deep Reinforcement Learning", arXiv
2410.09754, whose normalisation is LayerNorm, and FlashSAC, arXiv 2604.04539, which has RMSNorm in front of the last
layer. RMSNorm has no gain here: the product that follows would repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from mjxrl.networks.layers import Layer, activated

EPSILON = 1e-6


def outputs(layers: Sequence[Layer], x: Tensor, product: Callable[[Layer, Tensor], Tensor]) -> Tensor:
    """What a network of blocks says, given the product of its first layer."""
    for inner, outer in zip(layers[1:-1:2], layers[2:-1:2], strict=True):
        x = x + product(outer, activated(inner, product(inner, rms_norm(x))))
    return product(layers[-1], rms_norm(x))


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean x^2) of each row (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON)
