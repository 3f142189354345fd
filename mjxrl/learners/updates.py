"""The K updates between two vector steps: eager, with compiled losses, or captured. All give the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from torch import Tensor

from mjxrl.learners.algorithm import Algorithm, CriticGradient, PolicyGradient
from mjxrl.learners.batches import Draws, each
from mjxrl.learners.compiling import compiled
from mjxrl.learners.diagnostics import critic_metrics, policy_metrics
from mjxrl.learners.graphs import MOST, UpdateGraphs, captured
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.networks.parameters import Network
from mjxrl.replay import Batch, Indices, Replay
from mjxrl.storage.state import State

FoundT = TypeVar("FoundT", CriticGradient, PolicyGradient)


class Updates:
    """Makes updates of an algorithm; eagerly, until told otherwise.

    `read` gives the batches of drawn transitions as the losses want them; the policy moves with every
    `policy_delay`-th update of the critics. Each of the `ranks` has a part of every batch; all step the same way.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        read: Callable[[Replay, Indices], Batch],
        policy_delay: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._algorithm, self._read, self._delay, self._ranks = algorithm, read, policy_delay, ranks
        self._critic_gradient: Callable[[Batch, Tensor], CriticGradient] = algorithm.critic_gradient
        self._policy_gradient: Callable[[Batch, Tensor], PolicyGradient] = algorithm.policy_gradient
        self.graphs: UpdateGraphs | None = None

    def compile(self, replay: Replay, draws: Draws) -> None:
        """Compile the losses with their gradients for draws of these shapes, once. Changes no state."""
        if self._critic_gradient != self._algorithm.critic_gradient:
            return
        batch, noise = next(each(self._read(replay, draws.indices))), draws.noise[0]
        functions = self._algorithm.critic_gradient, self._algorithm.policy_gradient
        self._critic_gradient, self._policy_gradient = compiled(functions, batch, noise, device=noise.device)

    def capture(self, replay: Replay, draws: Draws, made: int) -> None:
        """Capture K updates as CUDA graphs for draws of these shapes. Changes no state.

        Nothing else may use the device meanwhile.
        """
        graphs = UpdateGraphs(self.run_eagerly, replay, draws, self._delay)
        self.graphs = captured(graphs, made, self._algorithm.parts())

    def run(self, replay: Replay, draws: Draws, made: int) -> State:
        """Make K updates after `made` others, which decide when the policy is due. Does not wait for the device.

        Returns metrics of the last update of each kind, 0-d tensors on the device.
        """
        if self.graphs is not None and self.graphs.fits(replay, draws, made):
            return self.graphs.run(draws, made)
        return self.run_eagerly(replay, draws, made)

    def run_eagerly(self, replay: Replay, draws: Draws, made: int) -> State:
        """As `run`, one update after the other; batches are read for `MOST` of them at once."""
        updates, metrics = len(draws.noise), {}
        for start in range(0, updates, MOST):
            some = draws.of(slice(start, start + MOST))
            batches = zip(each(self._read(replay, some.indices)), some.noise.unbind(), strict=True)
            for k, (batch, noise) in enumerate(batches, start):
                critics, policy = self.update(batch, noise, policy_due=(made + k + 1) % self._delay == 0)
                if policy is not None and k >= updates - self._delay:  # the last one
                    metrics = policy_metrics(batch, policy)
                if k == updates - 1:
                    metrics = critic_metrics(batch, critics, self._algorithm.value) | metrics
        return metrics

    def update(
        self, batch: Batch, noise: Annotated[Tensor, "D B A"], *, policy_due: bool
    ) -> tuple[CriticGradient, PolicyGradient | None]:
        """One update on a prepared batch: of the critics, of the policy if it is due, and of the targets."""
        critics, policy = self._step(self._critic_gradient(batch, noise), batch), None
        self._observe(self._algorithm.critics, critics.drift, batch)
        if policy_due:
            policy = self._step(self._policy_gradient(batch, noise), batch)
            self._observe(self._algorithm.actor, policy.drift, batch)
        self._algorithm.update_targets(policy_due)
        return critics, policy

    def _observe(self, network: Network, drift: Annotated[Tensor, "S"] | None, batch: Batch) -> None:
        """Move the running statistics of a network that has some towards those of all ranks' batches."""
        if drift is not None:
            network.observe(self._ranks.mean_gradients({"": drift}, batch.invalid)[""])

    def _step(self, found: FoundT, batch: Batch) -> FoundT:
        """Step down the gradients over all ranks' batches, which take the place of those over this one's."""
        gradients = self._ranks.mean_gradients(found.gradients, batch.invalid)
        self._algorithm.step(gradients)
        return found._replace(gradients=gradients)
