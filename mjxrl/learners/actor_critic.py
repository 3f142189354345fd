"""What TD3 and SAC have in common: an actor, E critics, targets unless these have BatchNorm, and the optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners.noise import HeldNoise
from mjxrl.learners.optimizer import Adam
from mjxrl.learners.values import SCALAR, Categorical
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.networks.batch_norm import Joint, joint_outputs, under_batch
from mjxrl.networks.layers import Layer
from mjxrl.networks.parameters import Network, average, follow, new_network, refresh
from mjxrl.networks.spec import actor_spec, critic_spec
from mjxrl.replay import Batch
from mjxrl.storage.state import Part

AVERAGE = "average_actor"


class ActorCritic:
    """The networks, made from `config.seed`, with their optimizers.

    An algorithm adds what it has besides to `networks` and `optimizers`. Sizes are O and A.
    """

    def __init__(
        self,
        config: Config,
        sizes: tuple[int, int],
        device: torch.device | str,
        dtype: torch.dtype,
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self._ranks = config, ranks
        settings = config.learner
        generator = torch.Generator().manual_seed(config.seed)
        is_categorical, atoms = settings.critic == "categorical", (settings.atoms, settings.value_range)
        self.value = Categorical(*atoms, device, dtype) if is_categorical else SCALAR
        products = torch.bfloat16 if settings.bf16 else dtype
        self.actor = new_network(actor_spec(config, *sizes), generator, device, dtype, products=products)
        # first Q-values near 0: targets start as rewards, not as noise
        spec = critic_spec(config, *sizes)
        self.critics = new_network(spec, generator, device, dtype, output_scale=0.01, products=products)
        self.networks = {"actor": self.actor, "critics": self.critics}
        self.has_targets = settings.critic_norm != "batch"
        if self.has_targets:
            self.networks["target_critics"] = self.critics.copy()
        if settings.policy_average is not None:
            self.networks[AVERAGE] = Network(self.actor.spec, self.actor.state_dict())
        adam = {"beta1": settings.adam_beta1, "weight_decay": settings.weight_decay}
        self.noise = HeldNoise(settings.hold_noise, config.share(ranks.size).num_envs, sizes[1], device, dtype)
        self.optimizers = {
            "actor": Adam(self.actor.flat, self.actor.parameters, settings.actor_lr, **adam),
            "critic": Adam(self.critics.flat, self.critics.parameters, settings.critic_lr, **adam),
        }

    def parts(self) -> dict[str, Part]:
        """Everything that changes as it learns, by the names under which it is saved."""
        optimizers = {f"{name}_adam": adam for name, adam in self.optimizers.items()}
        return {**self.networks, **optimizers, "noise": self.noise}

    def gradients(self, **losses: Tensor) -> dict[str, Annotated[Tensor, "_"]]:
        """Of each loss, 0-d, by the parameters of the optimizer that it is named after."""
        return {name: self.optimizers[name].gradient(loss) for name, loss in losses.items()}

    def joint(self, batch: Batch, next_action: Annotated[Tensor, "B A"]) -> Joint:
        """What critics with BatchNorm say of (s, a) and of (s', a')."""
        layers = self.critics.layers
        next_layers = self.critics.frozen if self.config.learner.half_gradient else layers
        ends = (batch.obs, batch.action), (batch.next_obs, next_action.to(batch.action.dtype))
        return joint_outputs(layers, next_layers, *ends, _valid(batch))

    def actor_on(self, batch: Batch) -> tuple[Sequence[Layer], Annotated[Tensor, "S"] | None]:
        """The actor's layers for its own loss, with BatchNorm under the statistics of the batch, and how far those are
        from the running ones."""
        if self.actor.statistics is None:
            return self.actor.layers, None
        return under_batch(self.actor.layers, batch.obs, _valid(batch))

    def move_targets(self) -> None:
        """Those that there are follow the networks."""
        names = [name for name in self.networks if name.startswith("target_")]
        sources = [self.networks[name.removeprefix("target_")] for name in names]
        follow([self.networks[name] for name in names], sources, self.config.learner.tau)

    def step(self, gradients: Mapping[str, Annotated[Tensor, "_"]]) -> None:
        """A step down each gradient by the optimizer of its name."""
        for name, gradient in gradients.items():
            self.optimizers[name].step(gradient)
        moved = {"actor": self.actor, "critic": self.critics}
        refresh([moved[name] for name in gradients if name in moved])
        fraction = self.config.learner.policy_average
        if fraction is not None and "actor" in gradients:
            average(self.networks[AVERAGE], self.actor, fraction, self.optimizers["actor"].made)

    @property
    def best_actor(self) -> Network:
        """Whose actions count where nothing is explored: the average of the actor's weights, if one is kept."""
        return self.networks.get(AVERAGE, self.actor)

    def over_worlds(self, low: float, high: float, actions: Annotated[Tensor, "N A"]) -> Annotated[Tensor, "N 1"]:
        """A number for each world, rising evenly from the first one's of all ranks to the last one's."""
        ranks, worlds = self._ranks, len(actions)
        spread = torch.linspace(low, high, ranks.size * worlds, device=actions.device, dtype=actions.dtype)
        return spread[ranks.rank * worlds :][:worlds].unsqueeze(-1)


def _valid(batch: Batch) -> Annotated[Tensor, "B"]:
    """1 for each transition that counts."""
    return (~batch.invalid).to(batch.reward.dtype)
