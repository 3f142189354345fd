"""What the learners share: a network with its optimizer, masked means, and the state they all keep."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import Config
from ..networks import Network
from ..normalization import RunningNorm
from ..replay import Batch, Replay

State = dict[str, Tensor]


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (..., B) over the last axis, over valid transitions only: (...). 0 where none is valid.

    where(), not a product: the values of a quarantined world may be NaN, and 0 * NaN is NaN.
    """
    return torch.where(valid > 0, values, 0).sum(-1) / valid.sum().clamp(min=1)


def without_invalid(batch: Batch) -> Batch:
    """The batch with zeros for every number of an invalid transition.

    Masking the loss is not enough: backward multiplies its zero gradients with the network's inputs.
    """
    row = batch.valid > 0
    rows = row.unsqueeze(-1)
    return batch._replace(
        obs=torch.where(rows, batch.obs, 0),
        action=torch.where(rows, batch.action, 0),
        reward=torch.where(row, batch.reward, 0),
        next_obs=torch.where(rows, batch.next_obs, 0),
    )


def bellman_target(batch: Batch, next_value: Tensor) -> Tensor:
    """y = sum gamma^i r_i + gamma^m V(s_m), without V after a termination; (B,). Truncated windows do bootstrap."""
    return batch.reward + batch.discount * torch.where(batch.terminated > 0, 0, next_value)


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980) over one flat buffer: a single fused kernel a step.

    Args:
        values: (P,) the parameters, updated in place.
        parameters: views of `values`, in order, that losses are differentiated with respect to.
        lr: step size.
    """

    def __init__(self, values: Tensor, parameters: list[Tensor], lr: float) -> None:
        self._values = values.detach().requires_grad_()
        self._values.grad = torch.zeros_like(values)
        self._parameters = parameters
        # capturable, on CUDA: the optimizer may be part of a CUDA graph.
        self._optimizer = torch.optim.Adam([self._values], lr=lr, fused=True, capturable=values.is_cuda)
        # The optimizer would make its state at the first step. It is made here so that a state can be copied in.
        self._state = {
            "step": torch.zeros((), dtype=torch.float32, device=values.device),
            "exp_avg": torch.zeros_like(values),
            "exp_avg_sq": torch.zeros_like(values),
        }
        self._optimizer.state[self._values] = self._state

    def minimize(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`."""
        gradients = torch.autograd.grad(loss, self._parameters)
        assert self._values.grad is not None
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=self._values.grad)
        self._optimizer.step()

    def state_dict(self) -> State:
        """Copies of the step count and both moments."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])


class ActorCritic:
    """An actor, E critics, the critics' targets, observation statistics, and the loop over K updates.

    A learner derives from it and says how it acts and what one update is: `noise_per_update`, `act`,
    `act_deterministic`, `update_critic`, `update_policy`, `update_targets`. Networks and optimizers of its own it adds
    to `networks` and `optimizers`, by which state is saved and loaded.

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
        self.actor = Network(
            (obs_size, *settings.actor_hidden, actor_outputs), generator=generator, device=device, dtype=dtype
        )
        self.critics = Network(
            (obs_size + action_size, *settings.critic_hidden, 1),
            members=settings.num_critics,
            layer_norm=settings.layer_norm,
            output_scale=0.01,  # first Q-values near 0: targets start as rewards, not as noise
            generator=generator,
            device=device,
            dtype=dtype,
        )
        self.target_critics = self.critics.copy()
        self.norm = RunningNorm(obs_size, device, dtype, enabled=settings.normalize_obs)
        self.actor_adam = Adam(self.actor.flat, self.actor.parameters, settings.actor_lr)
        self.critic_adam = Adam(self.critics.flat, self.critics.parameters, settings.critic_lr)
        self.updates = 0  # critic updates so far; known to the host, so that the policy delay needs no sync
        self.networks: dict[str, Network] = {
            "actor": self.actor,
            "critics": self.critics,
            "target_critics": self.target_critics,
        }
        self.optimizers: dict[str, Adam] = {"actor_adam": self.actor_adam, "critic_adam": self.critic_adam}

    def act(self, obs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Exploring actions, (N, A) in [-1, 1], of raw observations, (N, O)."""
        raise NotImplementedError

    def act_deterministic(self, obs: Tensor) -> Tensor:
        """The policy's best actions, (N, A) in [-1, 1], of raw observations, (N, O)."""
        raise NotImplementedError

    def update_critic(self, batch: Batch, noise: Tensor) -> State:
        """One step of the critics on a normalised batch; noise is (noise_per_update, B, A). Returns metrics."""
        raise NotImplementedError

    def update_policy(self, batch: Batch, noise: Tensor) -> State:
        """One step of the actor, and of what goes with it. Returns metrics."""
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

    def prepare(self, batch: Batch) -> Batch:
        """The batch as the losses want it: invalid numbers zeroed, both observations under the same statistics."""
        batch = without_invalid(batch)
        return batch._replace(obs=self.norm.normalize(batch.obs), next_obs=self.norm.normalize(batch.next_obs))

    def update(self, replay: Replay, updates: int, generator: torch.Generator | None = None) -> State:
        """Make `updates` critic updates, and the policy updates that fall due. Does not wait for the device.

        Args:
            replay: to draw from; must hold something.
            updates: K, at least 1.
            generator: of the learner's device; all K updates' indices, then all noise, are drawn from it at once.

        Returns:
            Metrics, 0-d tensors on the device, each averaged over the updates that made it. Those of the policy are
            absent if no policy update fell due, which takes K < policy_delay.
        """
        settings = self.config.learner
        indices = replay.draw(updates, settings.batch_size, generator)
        windows = replay.windows(indices, settings.n_step, settings.gamma)
        shape = (updates, self.noise_per_update, settings.batch_size, self.action_size)
        noise = torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)
        history: dict[str, list[Tensor]] = {}
        for k in range(updates):
            batch = self.prepare(replay.read(windows.of_update(k)))
            metrics = self.update_critic(batch, noise[k])
            self.updates += 1
            policy_is_due = self.updates % settings.policy_delay == 0
            if policy_is_due:
                metrics |= self.update_policy(batch, noise[k])
            self.update_targets(policy_is_due)
            for name, value in metrics.items():
                history.setdefault(name, []).append(value)
        return {name: torch.stack(values).mean() for name, values in history.items()}

    def _stateful(self) -> dict[str, Network | Adam | RunningNorm]:
        return {**self.networks, "norm": self.norm, **self.optimizers}

    def state_dict(self) -> State:
        """Copies of everything that an exact resume needs, under flat names."""
        state = _flatten(self._stateful())
        return {**state, "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in, so that training continues bit for bit.

        Raises:
            ValueError: a tensor is missing, unknown or of another shape; nothing has been changed then.
        """
        _check_fit(state, self.state_dict())
        _restore(self._stateful(), state)
        self.updates = int(state["updates"])

    def policy_state(self) -> State:
        """Copies of what acting needs: the actor and the observation statistics."""
        return _flatten({"actor": self.actor, "norm": self.norm})

    def load_weights(self, state: State) -> None:
        """Start from the networks, targets and observation statistics of a saved state; everything else stays new.

        Raises:
            ValueError: a tensor is missing or of another shape; nothing has been changed then.
        """
        parts: dict[str, Network | Adam | RunningNorm] = {**self.networks, "norm": self.norm}
        prefixes = tuple(f"{name}." for name in parts)
        weights = {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}
        _check_fit(weights, _flatten(parts))
        _restore(parts, weights)


def _flatten(parts: dict[str, Network | Adam | RunningNorm]) -> State:
    return {f"{part}.{name}": value for part, owner in parts.items() for name, value in owner.state_dict().items()}


def _restore(parts: dict[str, Network | Adam | RunningNorm], state: State) -> None:
    for part, owner in parts.items():
        prefix = f"{part}."
        owner.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})


def _check_fit(state: State, expected: State) -> None:
    problems = [f"{name} is missing" for name in expected.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        raise ValueError("the saved learner does not fit this configuration: " + "; ".join(sorted(problems)))
