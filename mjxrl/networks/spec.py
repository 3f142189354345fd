"""The one description of a network, from which its parameters, a policy's file, FLOPs and memory estimates come.

Nothing here needs torch: memory is estimated before it loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from mjxrl.config import Config

EXPANSION = 4  # of blocks: inner width over outer width


@dataclass(frozen=True)
class NetworkSpec:
    """E multilayer perceptrons, or networks of residual blocks, of the same shape.

    Raises:
        ValueError: there is no hidden layer; or blocks that differ in width or have BatchNorm.
    """

    inputs: int
    """Width of what it is given."""
    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    outputs: int
    """Width of the last layer."""
    members: int = 1
    """E"""
    norm: str = "none"
    """none | layer (LayerNorm after each hidden layer) | batch (BatchNorm before each layer)."""
    activation: str = "relu"
    """relu | silu, after each hidden layer."""
    blocks: bool = False
    """Residual blocks of these widths in place of the hidden layers."""

    def __post_init__(self) -> None:
        if not self.hidden:
            raise ValueError("a network needs at least one hidden layer")
        if self.blocks and (len(set(self.hidden)) > 1 or self.norm == "batch"):
            raise ValueError("blocks have one width, and no BatchNorm")

    @property
    def products(self) -> list[tuple[int, int]]:
        """Widths (in, out) of each matrix product, from the inputs on."""
        if self.blocks:
            width, inner = self.hidden[0], EXPANSION * self.hidden[0]
            block = [(width, inner), (inner, width)]
            return [(self.inputs, width), *block * len(self.hidden), (width, self.outputs)]
        return list(pairwise((self.inputs, *self.hidden, self.outputs)))

    def activates(self, layer: int) -> bool:
        """Whether an activation follows the layer: not the last one, and in blocks the inner ones only."""
        return layer < len(self.products) - 1 and (not self.blocks or layer % 2 == 1)

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Every parameter by name: weights (E, in, out), biases (E, 1, out); gains and shifts, of LayerNorm
        (E, 1, out), of BatchNorm, which the first layer has without, (E, 1, in)."""
        shapes = {}
        for i, (fan_in, fan_out) in enumerate(self.products):
            shapes[f"{i}.weight"] = (self.members, fan_in, fan_out)
            shapes[f"{i}.bias"] = (self.members, 1, fan_out)
            normalised = {
                "none": 0,
                "layer": fan_out if self.activates(i) else 0,
                "batch": fan_in if i else 0,
            }
            if width := normalised[self.norm]:
                shapes |= {f"{i}.{name}": (self.members, 1, width) for name in ("gain", "shift")}
        return shapes

    @property
    def statistics(self) -> dict[str, tuple[int, int, int]]:
        """BatchNorm's running statistics by name: means and variances of what goes into each layer, (E, 1, in);
        (1, 1, in) of the first, which is the same for all members."""
        if self.norm != "batch":
            return {}
        widths = [fan_in for fan_in, _ in self.products]
        return {
            f"{i}.{name}": (self.members if i else 1, 1, width)
            for i, width in enumerate(widths)
            for name in ("mean", "var")
        }

    @property
    def parameters(self) -> int:
        """How many numbers are learned, all members together."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def units(self) -> int:
        """How many numbers one input becomes on its way, itself included, all members together."""
        return self.members * (self.inputs + sum(fan_out for _, fan_out in self.products))


def actor_spec(config: Config, obs_size: int, action_size: int) -> NetworkSpec:
    """The actor's: an action from an observation, or with SAC the mean and the log standard deviation of one."""
    outputs = {"td3": action_size, "sac": 2 * action_size}[config.algo]
    settings = config.learner
    return NetworkSpec(obs_size, settings.actor_hidden, outputs, norm=settings.actor_norm, blocks=settings.blocks)


def critic_spec(config: Config, obs_size: int, action_size: int) -> NetworkSpec:
    """The critics': a value, or atoms of its distribution, from an observation beside an action."""
    settings = config.learner
    return NetworkSpec(
        inputs=obs_size + action_size,
        hidden=settings.critic_hidden,
        outputs=settings.atoms if settings.critic == "categorical" else 1,
        members=settings.num_critics,
        norm=settings.critic_norm,
        activation=settings.critic_activation,
        blocks=settings.blocks,
    )
