"""What the learners share: networks with their optimizers, the loop over K updates, and the state they keep."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners.batches import masked_mean, without_invalid
from mjxrl.learners.compiling import compiled
from mjxrl.learners.diagnostics import critic_metrics
from mjxrl.learners.graphs import UpdateGraphs, capture_updates
from mjxrl.learners.optimizer import Adam, lr_fraction
from mjxrl.learners.values import make_value
from mjxrl.networks.mlp import Network
from mjxrl.networks.statistics import ReturnScale, RunningNorm
from mjxrl.replay import Batch, Indices, Replay
from mjxrl.storage.state import State, Stateful, check_fit, flatten, restore

__all__ = ["ActorCritic", "Adam", "masked_mean"]


class CriticGradient(NamedTuple):
    """What the critics step down, and how it came about."""

    gradient: Tensor
    """(P,)"""
    loss: Tensor
    """0-d"""
    q: Tensor
    """(E, B)"""
    target: Tensor
    """(B,), or (B, K) atoms"""


class ActorCritic:
    """An actor, E critics, the critics' targets, running statistics, and the loop over K updates.

    A learner derives from it and says how it acts and what one update is: `noise_per_update`, `act`,
    `act_deterministic`, `critic_gradient`, `policy_gradient`, `update_policy`, `update_targets`. Networks and
    optimizers of its own it adds to `networks` and `optimizers`, by which state is saved and loaded.

    Args:
        config: of the run.
        obs_size: observation width O.
        action_size: action width A.
        actor_outputs: outputs of the actor.
        device: where everything lives.
        dtype: of networks and statistics.
    """

    noise_per_update: int
    """Gaussian draws of action shape, (B, A), that an update takes."""

    def __init__(
        self,
        config: Config,
        obs_size: int,
        action_size: int,
        actor_outputs: int,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        self.dtype = dtype
        self.action_size = action_size
        settings = config.learner
        generator = torch.Generator().manual_seed(config.seed)
        self.value = make_value(settings, device, dtype)
        self.actor = Network(
            (obs_size, *settings.actor_hidden, actor_outputs), generator=generator, device=device, dtype=dtype
        )
        self.critics = Network(
            (obs_size + action_size, *settings.critic_hidden, self.value.outputs),
            members=settings.num_critics,
            layer_norm=settings.layer_norm,
            activation=settings.critic_activation,
            output_scale=0.01,  # first Q-values near 0: targets start as rewards, not as noise
            generator=generator,
            device=device,
            dtype=dtype,
        )
        self.target_critics = self.critics.copy()
        self.norm = RunningNorm(obs_size, device, dtype, enabled=settings.normalize_obs)
        self.return_scale = ReturnScale(config.num_envs, settings.gamma, device, dtype, enabled=settings.scale_rewards)
        decay = settings.weight_decay
        self.actor_adam = Adam(self.actor.flat, self.actor.parameters, settings.actor_lr, decay)
        self.critic_adam = Adam(self.critics.flat, self.critics.parameters, settings.critic_lr, decay)
        self.updates = 0  # critic updates so far; known to the host, so that the policy delay needs no sync
        self.networks: dict[str, Network] = {
            "actor": self.actor,
            "critics": self.critics,
            "target_critics": self.target_critics,
        }
        self.optimizers: dict[str, Adam] = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam}
        self._graphs: UpdateGraphs | None = None

    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Exploring actions, (N, A) in [-1, 1], of raw observations, (N, O)."""
        raise NotImplementedError

    def act_deterministic(self, obs: Tensor) -> Tensor:
        """The policy's best actions, (N, A) in [-1, 1], of raw observations, (N, O)."""
        raise NotImplementedError

    def critic_gradient(self, batch: Batch, noise: Tensor) -> CriticGradient:
        """The gradient of the critics' loss on a prepared batch; noise is (noise_per_update, B, A). Changes nothing."""
        raise NotImplementedError

    def policy_gradient(self, batch: Batch, noise: Tensor) -> Any:
        """The gradient of the actor's loss, and what `update_policy` needs with it. Changes nothing."""
        raise NotImplementedError

    def update_policy(self, batch: Batch, noise: Tensor, measure: bool = True) -> State:
        """One step of the actor, and of what goes with it. Metrics if `measure`."""
        raise NotImplementedError

    def update_targets(self, policy_updated: bool) -> None:
        """Move the targets, after every critic update."""
        raise NotImplementedError

    @torch.no_grad()
    def observe(self, obs: Tensor, mask: Tensor | None = None) -> None:
        """Add fresh frames, (N, O), to the observation statistics; rows where `mask`, (N,) bool, is false don't count.

        To be called once for each frame that the worlds produce, never on samples of the replay.
        """
        self.norm.update(obs, mask)

    def observe_rewards(self, reward: Tensor, ended: Tensor, valid: Tensor) -> None:
        """Add one vector step, (N,) each, to the statistics of returns; once per step, as `observe`."""
        self.return_scale.update(reward, ended, valid)

    def prepare(self, batch: Batch) -> Batch:
        """The batch as the losses want it: invalid numbers zeroed, rewards scaled, both observations under the same
        statistics."""
        batch = without_invalid(batch)
        factor = self.return_scale.factor
        return batch._replace(
            obs=self.norm.normalize(batch.obs),
            next_obs=self.norm.normalize(batch.next_obs),
            reward=batch.reward if factor is None else batch.reward * factor,
        )

    def update_critic(self, batch: Batch, noise: Tensor, measure: bool = True) -> State:
        """One step of the critics on a prepared batch; noise is (noise_per_update, B, A). Metrics if `measure`."""
        gradient, loss, q, target = self.critic_gradient(batch, noise)
        self.critic_adam.step(gradient)
        return critic_metrics(batch, loss, q, self.value.q_of_target(target), gradient) if measure else {}

    def over_worlds(self, low: float, high: float, worlds: int) -> Tensor:
        """A number of its own for each world, rising evenly from the first one's to the last one's: (N, 1)."""
        return torch.linspace(low, high, worlds, device=self.device, dtype=self.dtype).unsqueeze(-1)

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in bf16, if so configured; parameters, losses, targets and discounts keep their precision."""
        if not self.config.learner.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def warm_up(self, replay: Replay) -> None:
        """Compile losses and gradients, and on CUDA capture the updates between two vector steps as CUDA graphs; each
        if so configured.

        Nothing else may use the device meanwhile. State is as before afterwards.
        """
        if self.config.learner.compile:
            self._compile_gradients(replay)
        if self.config.learner.graphs and self.device.type == "cuda":
            self._graphs = capture_updates(self, replay, self.config.learner.updates_per_step)

    def _compile_gradients(self, replay: Replay) -> None:
        """Put compiled functions in place of the methods, in this learner only. Once more does nothing more."""
        settings = self.config.learner
        rows = torch.zeros(settings.batch_size, dtype=torch.int64, device=self.device)  # what they hold does not matter
        batch = self.prepare(replay.gather(Indices(rows, rows + 1), settings.n_step, settings.gamma))
        shape = (self.noise_per_update, settings.batch_size, self.action_size)
        noise = torch.zeros(shape, device=self.device, dtype=self.dtype)
        functions = (self.critic_gradient, self.policy_gradient)
        self.critic_gradient, self.policy_gradient = compiled(functions, batch, noise, device=self.device)

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
        indices = replay.draw(updates, settings.batch_size, generator)
        windows = replay.windows(indices, settings.n_step, settings.gamma)
        shape = (updates, self.noise_per_update, settings.batch_size, self.action_size)
        noise = torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)
        self._set_step_sizes()
        if self._graphs is not None and self._graphs.fits(replay, updates):
            metrics = self._graphs.run(windows, noise)
        else:
            metrics = {}
            for k in range(updates):
                batch = replay.read(windows.of_update(k))
                metrics |= self.one_update(batch, noise[k], measure=k >= updates - settings.policy_delay)
        metrics["replay_age"] = indices.steps[-1].to(self.dtype).mean() - 1  # vector steps since it was stored
        if self.return_scale.factor is not None:
            metrics["reward_scale"] = self.return_scale.factor.clone()
        return metrics

    def one_update(self, batch: Batch, noise: Tensor, measure: bool) -> State:
        """One critic update on a batch as the replay gives it, and whatever falls due with it."""
        batch = self.prepare(batch)
        metrics = self.update_critic(batch, noise, measure)
        self.updates += 1
        policy_is_due = self.updates % self.config.learner.policy_delay == 0
        if policy_is_due:
            metrics |= self.update_policy(batch, noise, measure)
        self.update_targets(policy_is_due)
        return metrics

    def _set_step_sizes(self) -> None:
        """Follow the learning-rate schedule, by the updates that a run of `total_steps` makes."""
        config, settings = self.config, self.config.learner
        if settings.lr_schedule == "constant":
            return
        vector_steps = (config.total_steps - settings.warmup_steps) / config.num_envs
        progress = self.updates / max(1.0, vector_steps * settings.updates_per_step)
        for optimizer in self.optimizers.values():
            optimizer.scale_lr(lr_fraction(settings.lr_schedule, progress, settings.lr_final))

    def _weights(self) -> dict[str, Stateful]:
        return {**self.networks, "norm": self.norm, "return_scale": self.return_scale}

    def state_dict(self) -> State:
        """Copies of everything that an exact resume needs, under flat names."""
        return {**flatten({**self._weights(), **self.optimizers}), "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in, so that training continues bit for bit.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; nothing has been changed then.
        """
        check_fit(state, self.state_dict())
        restore({**self._weights(), **self.optimizers}, state)
        self.updates = int(state["updates"])

    def policy_state(self) -> State:
        """Copies of what acting needs: the actor and the observation statistics."""
        return flatten({"actor": self.actor, "norm": self.norm})

    def load_weights(self, state: State) -> None:
        """Start from the networks, targets and statistics of a saved state; everything else stays new.

        Raises:
            ValueError: a tensor is missing or of another shape; nothing has been changed then.
        """
        parts, running = self._weights(), "return_scale.returns"  # belongs to the worlds of that run
        prefixes = tuple(f"{name}." for name in parts)
        weights = {name: x for name, x in state.items() if name.startswith(prefixes) and name != running}
        expected = {name: x for name, x in flatten(parts).items() if name != running}
        check_fit(weights, expected)
        restore(parts, weights)
