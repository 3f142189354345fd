"""What the trainer knows of learning: a policy that acts, statistics of what it meets, and updates from replay."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners.actor_critic import AVERAGE
from mjxrl.learners.algorithm import Algorithm
from mjxrl.learners.batches import Draws, without_invalid
from mjxrl.learners.diagnostics import goal_metrics
from mjxrl.learners.noise import HeldNoise
from mjxrl.learners.optimizer import lr_fraction
from mjxrl.learners.updates import Updates
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.networks.statistics import ReturnScale, RunningNorm
from mjxrl.replay import Batch, Indices, Replay
from mjxrl.storage.state import Part, State, check_fit, flatten, part_of, restore
from mjxrl.worlds.worlds import StepResult

PER_WORLD = {f"return_scale.{name}" for name in ReturnScale.PER_WORLD} | {f"noise.{x}" for x in HeldNoise.PER_WORLD}
ADDED = {f"return_scale.{name}" for name in ReturnScale.ADDED}


class Learner:
    """An algorithm with running statistics, the loop over its updates, and the state of both.

    N worlds, observations of width O (raw: they are normalised here), actions of width A in [-1, 1]. Where a run has
    several ranks, worlds and batches are this one's share of those that `config` names.
    """

    def __init__(
        self,
        config: Config,
        algorithm: Algorithm,
        sizes: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
        ranks: Ranks = ALONE,
    ) -> None:
        """See `make_learner`. Sizes are O and A."""
        settings, share = config.learner, config.share(ranks.size)
        self.config, self.algorithm = config, algorithm
        self.device, self.dtype = device, dtype
        window = math.ceil(config.replay.capacity / config.num_envs)
        returns = share.num_envs, settings.gamma, window
        self.norm = RunningNorm(sizes[0], device, dtype, enabled=settings.normalize_obs, ranks=ranks)
        self.return_scale = ReturnScale(*returns, device, dtype, enabled=settings.scale_rewards, ranks=ranks)
        self.updates = Updates(algorithm, self.read, settings.policy_delay, ranks)
        self._batch_size = share.learner.batch_size
        self._noise_shape = algorithm.noise_per_update, self._batch_size, sizes[1]
        self._made = 0  # updates so far; known to the host, so that the policy delay needs no sync

    @torch.no_grad()
    def act(self, obs: Annotated[Tensor, "N O"], generator: torch.Generator | None = None) -> Annotated[Tensor, "N A"]:
        """Exploring actions of raw observations."""
        return self.algorithm.act(self.norm.normalize(obs), generator)

    @torch.no_grad()
    def act_deterministic(self, obs: Annotated[Tensor, "N O"]) -> Annotated[Tensor, "N A"]:
        """The policy's best actions of raw observations."""
        return self.algorithm.act_deterministic(self.norm.normalize(obs))

    @torch.no_grad()
    def start(self, obs: Annotated[Tensor, "N O"]) -> None:
        """The worlds begin new episodes with `obs`: the first frames of the observation statistics."""
        self.norm.update(obs)
        self.return_scale.restart()

    @torch.no_grad()
    def observe(self, result: StepResult) -> None:
        """Add one vector step to the statistics of observations and returns, the worlds that are valid.

        To be called once for each step of the worlds, never on samples of the replay.
        """
        self.norm.update(result.obs, result.valid)
        self.return_scale.update(result.reward, result.done, result.valid)

    def read(self, replay: Replay, indices: Indices) -> Batch:
        """The batches of drawn transitions as the losses want them."""
        settings = self.config.learner
        return self.prepare(replay.gather(indices, settings.n_step, settings.gamma))

    def prepare(self, batch: Batch) -> Batch:
        """The batch as the losses want it: invalid numbers zeroed, rewards scaled, both observations under the same
        statistics, and what goes into networks in the precision in which they compute."""
        batch, precision = without_invalid(batch), self.algorithm.critics.rounded.dtype
        return batch._replace(
            obs=self.norm.normalize(batch.obs).to(precision),
            action=batch.action.to(precision),
            next_obs=self.norm.normalize(batch.next_obs).to(precision),
            reward=self.return_scale.scale(batch.reward),
        )

    def warm_up(self, replay: Replay) -> None:
        """Compile losses and gradients, and on CUDA capture the updates between two vector steps as CUDA graphs; each
        if so configured.

        Nothing else may use the device meanwhile. State is as before afterwards.
        """
        settings = self.config.learner
        rows = torch.zeros(settings.updates_per_step, self._batch_size, dtype=torch.int64, device=self.device)
        noise = torch.zeros(len(rows), *self._noise_shape, device=self.device, dtype=self.dtype)
        luck = torch.zeros_like(rows, dtype=torch.float32) if self.config.relabelled else None
        draws = Draws(Indices(rows, rows + 1, luck), noise)
        if settings.compile:
            self.updates.compile(replay, draws)
        if settings.graphs and self.device.type == "cuda":
            self.updates.capture(replay, draws, self._made)

    def update(self, replay: Replay, updates: int, generator: torch.Generator | None = None) -> State:
        """Make `updates` critic updates, and the policy updates that fall due. Does not wait for the device.

        Args:
            replay: to draw from; must hold something.
            updates: K, at least 1.
            generator: of the learner's device; all K updates' indices, then all noise, are drawn from it at once.

        Returns:
            Metrics of the last update of each kind, 0-d tensors on the device. Those of the policy are absent if no
            policy update fell due, which takes K < policy_delay.
        """
        settings = self.config.learner
        indices = replay.draw(updates, self._batch_size, generator)
        noise = torch.randn(updates, *self._noise_shape, generator=generator, device=self.device, dtype=self.dtype)
        self._set_step_sizes()
        metrics = self.updates.run(replay, Draws(indices, noise), self._made)
        if replay.goals is not None:
            metrics |= goal_metrics(replay.gather(indices[-1], settings.n_step, settings.gamma), replay.goals)
        self._made += updates
        metrics["replay_age"] = indices.steps[-1].to(self.dtype).mean() - 1  # vector steps since it was stored
        if self.return_scale.factor is not None:
            metrics["reward_scale"] = self.return_scale.factor.clone()
        return metrics

    def _set_step_sizes(self) -> None:
        """Follow the learning-rate schedule, by the updates that a run of `total_steps` makes."""
        config, settings = self.config, self.config.learner
        if settings.lr_schedule == "constant":
            return
        vector_steps = (config.total_steps - settings.warmup_steps) / config.num_envs
        progress = self._made / max(1.0, vector_steps * settings.updates_per_step)
        for optimizer in self.algorithm.optimizers.values():
            optimizer.scale_lr(lr_fraction(settings.lr_schedule, progress, settings.lr_final))

    def _parts(self) -> dict[str, Part]:
        return {**self.algorithm.parts(), "norm": self.norm, "return_scale": self.return_scale}

    def state_dict(self) -> State:
        """Copies of everything that an exact resume needs, under flat names."""
        return {**flatten(self._parts()), "updates": torch.tensor(self._made)}

    def shared_state(self) -> State:
        """Of `state_dict` what is the same on all ranks, to the bit: all but what belongs to the worlds."""
        return {name: x for name, x in self.state_dict().items() if name not in PER_WORLD}

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in, so that training continues bit for bit. What earlier versions did not save stays.

        Raises:
            MisfitError: a tensor is missing, unknown or of another shape; nothing has been changed then.
        """
        expected = self.state_dict()
        check_fit({name: expected[name] for name in ADDED & expected.keys()} | state, expected)
        restore(self._parts(), state)
        self._made = int(state["updates"])

    def load_shared_state(self, state: State) -> None:
        """Go on from a saved state of other worlds, in these; what belongs to worlds stays as it is.

        Raises:
            MisfitError: as `load_state_dict`.
        """
        own = {name: x for name, x in self.state_dict().items() if name in PER_WORLD}
        self.load_state_dict({**state, **own})

    def load_weights(self, state: State) -> None:
        """Start from the networks, targets and statistics of a saved state; everything else stays new. An average that
        was not saved starts at the actor.

        Raises:
            MisfitError: a tensor is missing or of another shape; nothing has been changed then.
        """
        parts = {**self.algorithm.networks, "norm": self.norm, "return_scale": self.return_scale}
        expected = {name: x for name, x in flatten(parts).items() if name not in PER_WORLD}
        weights = {name: x for name, x in state.items() if name.partition(".")[0] in parts and name not in PER_WORLD}
        if AVERAGE in parts and not part_of(weights, AVERAGE):
            weights |= {f"{AVERAGE}.{name}": x for name, x in part_of(weights, "actor").items()}
        check_fit({name: expected[name] for name in ADDED & expected.keys()} | weights, expected)
        restore(parts, weights)
