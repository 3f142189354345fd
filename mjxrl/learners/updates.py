"""The K updates between two vector steps: eager, with compiled losses, or captured. All give the same numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from mjxrl.learners.algorithm import Algorithm, CriticGradient, PolicyGradient
from mjxrl.learners.batches import Draws
from mjxrl.learners.compiling import compiled
from mjxrl.learners.diagnostics import critic_metrics, policy_metrics
from mjxrl.learners.graphs import UpdateGraphs, captured
from mjxrl.replay import Batch, Replay
from mjxrl.storage.state import State


class Updates:
    """Makes updates of an algorithm; eagerly, until told otherwise.

    Args:
        algorithm: whose networks learn.
        prepare: makes of a batch as the replay gives it one as the losses want it.
        policy_delay: critic updates per policy update.
    """

    def __init__(self, algorithm: Algorithm, prepare: Callable[[Batch], Batch], policy_delay: int) -> None:
        self._algorithm, self._prepare, self._delay = algorithm, prepare, policy_delay
        self._critic_gradient: Callable[[Batch, Tensor], CriticGradient] = algorithm.critic_gradient
        self._policy_gradient: Callable[[Batch, Tensor], PolicyGradient] = algorithm.policy_gradient
        self.graphs: UpdateGraphs | None = None

    def compile(self, replay: Replay, draws: Draws) -> None:
        """Compile the losses with their gradients for draws of these shapes. Changes no state."""
        batch, noise = self._prepare(replay.read(draws.windows.of_update(0))), draws.noise[0]
        functions = self._algorithm.critic_gradient, self._algorithm.policy_gradient
        self._critic_gradient, self._policy_gradient = compiled(functions, batch, noise, device=noise.device)

    def capture(self, replay: Replay, draws: Draws, made: int) -> None:
        """Capture K updates as CUDA graphs for draws of these shapes. Changes no state.

        Nothing else may use the device meanwhile.
        """
        graphs = UpdateGraphs(self.run_eagerly, replay, draws, self._delay)
        self.graphs = captured(graphs, made, self._algorithm.parts())

    def run(self, replay: Replay, draws: Draws, made: int) -> State:
        """Make K updates. Does not wait for the device.

        Args:
            replay: to read from.
            draws: of K updates.
            made: updates before these, which decide when the policy is due.

        Returns:
            Metrics of the last update of each kind, 0-d tensors on the device.
        """
        if self.graphs is not None and self.graphs.fits(replay, draws, made):
            return self.graphs.run(draws, made)
        return self.run_eagerly(replay, draws, made)

    def run_eagerly(self, replay: Replay, draws: Draws, made: int) -> State:
        """As `run`, one update after the other."""
        updates, metrics = len(draws.noise), {}
        for k in range(updates):
            batch = self._prepare(replay.read(draws.windows.of_update(k)))
            policy_due, measure = (made + k + 1) % self._delay == 0, k >= updates - self._delay
            metrics |= self.update(batch, draws.noise[k], policy_due=policy_due, measure=measure)
        return metrics

    def update(self, batch: Batch, noise: Tensor, *, policy_due: bool, measure: bool = True) -> State:
        """One update on a prepared batch: of the critics, of the policy if it is due, and of the targets.

        noise is (noise_per_update, B, A). Metrics if `measure`.
        """
        metrics = self.update_critics(batch, noise, measure)
        if policy_due:
            metrics |= self.update_policy(batch, noise, measure)
        self._algorithm.update_targets(policy_due)
        return metrics

    def update_critics(self, batch: Batch, noise: Tensor, measure: bool = True) -> State:
        """One step of the critics, as `update`."""
        found = self._critic_gradient(batch, noise)
        self._step(found.gradients)
        return critic_metrics(batch, found, self._algorithm.value.q_of_target(found.target)) if measure else {}

    def update_policy(self, batch: Batch, noise: Tensor, measure: bool = True) -> State:
        """One step of the actor and of what goes with it, as `update`."""
        found = self._policy_gradient(batch, noise)
        self._step(found.gradients)
        return policy_metrics(batch, found) if measure else {}

    def _step(self, gradients: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            self._algorithm.optimizers[name].step(gradient)
