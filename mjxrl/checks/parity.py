"""Do our worlds do what Gymnasium's do? One environment step from the same state under the same action, compared.

A user who changes mujoco's version sees with `mjxrl-parity` whether policies still carry over. Tasks that Gymnasium's
suite lacks are held against MuJoCo's C, as at the start of every run.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from mjxrl.checks.reference import Reference, Step
from mjxrl.config import PhysicsConfig
from mjxrl.envs import SUITE
from mjxrl.envs.task import Array, Namespace, Reset, Task, View
from mjxrl.errors import UnavailableError
from mjxrl.worlds import against_c
from mjxrl.worlds.program import EnvState, vector_set_state, vector_step
from mjxrl.worlds.runner import on_host
from mjxrl.worlds.vector_env import VectorEnv, make_backend
from mjxrl.worlds.worlds import StepResult


class Tolerance(NamedTuple):
    """What counts as equal, absolute; `share` of the states must keep to it."""

    qpos: float
    qvel: float
    obs: float  # per unit of the observation's largest component, if that is above 1: contact forces reach 1e3
    reward: float
    share: float


_FLOAT32 = Tolerance(qpos=1e-5, qvel=1e-3, obs=1e-3, reward=1e-4, share=0.95)
TOLERANCES = {
    "native": Tolerance(qpos=1e-9, qvel=1e-9, obs=1e-6, reward=1e-9, share=1.0),  # Pendulum's obs is float32
    "jax": _FLOAT32,
    "warp": _FLOAT32,
}


class Report(NamedTuple):
    """How far one kind of states is off.

    Attributes:
        kind: of states: one of `reference.KINDS`, or "play" beside C.
        states: how many were compared.
        errors: per quantity and state, the largest absolute error of its components, `(n,)` each.
        problems: what is out of tolerance, one line each.
    """

    kind: str
    states: int
    errors: dict[str, np.ndarray]
    problems: list[str]


def compare(
    task: Task, backend: str, states: int = 64, config: PhysicsConfig | None = None, device: str = "cpu"
) -> list[Report]:
    """Compare `states` states of each kind that the task has with Gymnasium, or a task that its suite lacks with C.

    Args:
        device: where warp simulates; jax does where its settings say.

    Raises:
        UnavailableError: the task cannot be simulated on this backend, or this backend is C.
    """
    if task.gymnasium_id not in SUITE:
        return [_beside_c(task, backend, states, config, device)]
    ours, reference = Worlds(task, states, backend, config, device), Reference(task)
    rng, reports = np.random.default_rng(0), []
    for kind, (qpos, qvel) in reference.states(states, rng).items():
        n = len(qpos)
        if n == 0:
            continue
        action = rng.uniform(-1, 1, (n, task.model.nu)).astype(np.float32)
        expected = reference.step(qpos, qvel, action)
        got = ours.step(qpos, qvel, action)
        errors = _errors(got, expected)
        flags = _flags(task, reference, got, expected, (qpos, qvel, action))
        reports.append(Report(kind, n, errors, _out_of_tolerance(errors, expected, TOLERANCES[backend]) + flags))
    return reports


def _beside_c(task: Task, backend: str, states: int, config: PhysicsConfig | None, device: str) -> Report:
    if backend == "native":
        name = type(task).__name__
        raise UnavailableError(f"--backend native: allowed: jax, warp for {name}, which is compared with native itself")
    worlds = VectorEnv(task, states, backend=backend, device=torch.device(device), physics=config)
    comparison = against_c.compare(worlds, states)
    problems = list(comparison.differences(task.model, TOLERANCES[backend].share))
    return Report("play", states, comparison.errors(), problems)


class Worlds:
    """Our side: `vector_step` on a backend, in the backend's own precision."""

    def __init__(
        self, task: Task, num_envs: int, backend: str, config: PhysicsConfig | None = None, device: str = "cpu"
    ) -> None:
        self._task = _with_state_in_observation(task)
        self.physics, self._runner = make_backend(self._task, num_envs, backend, torch.device(device), config)
        self.state, self._random = self.physics.init(0)
        self._set_state = self._runner.compile(partial(vector_set_state, self._task, self.physics))
        self._step = self._runner.compile(partial(vector_step, self._task, self.physics))

    def step(self, qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> Step:
        """One step from up to `num_envs` states, under actions in [-1, 1]."""
        n, nq, nv, worlds = len(qpos), self._task.model.nq, self._task.model.nv, self.physics.num_envs
        repeated = [torch.from_numpy(np.resize(x, (worlds, x.shape[1]))) for x in (qpos, qvel, action)]
        start = [self._runner.from_torch(tensor) for tensor in repeated]
        state, first = self._set_state(self.state, self._random, Reset(*start[:2]))
        first_obs = _float64(first)[:n, : -nq - nv]  # now: native changes its buffers in place
        after: tuple[EnvState, StepResult] = self._step(state, start[2])
        self.state, result = after[0].physics, after[1]
        final = _float64(result.final_obs)[:n]
        terms = {name: _float64(term)[:n] for name, term in result.reward_terms.items()}
        return Step(
            qpos=final[:, -nq - nv : -nv],
            qvel=final[:, -nv:],
            first_obs=first_obs,
            obs=final[:, : -nq - nv],
            reward=_float64(result.reward)[:n],
            terms=terms,
            terminated=on_host(result.terminated)[:n],
        )


def _with_state_in_observation(task: Task) -> Task:
    """`task` with qpos and qvel appended to its observation: the only thing that survives the end of an episode."""

    class WithState(type(task)):
        def observation(self, xp: Namespace, view: View) -> Array:
            return xp.concatenate([super().observation(xp, view), view.qpos, view.qvel], axis=1)

    WithState.__name__ = type(task).__name__  # for messages
    return WithState(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})


def _float64(array: Any) -> np.ndarray:
    return on_host(array).astype(np.float64)


def _errors(got: Step, expected: Step) -> dict[str, np.ndarray]:
    pairs = {
        name: (getattr(got, name), getattr(expected, name)) for name in ("qpos", "qvel", "first_obs", "obs", "reward")
    }
    pairs |= {name: (got.terms[name], expected.terms[name]) for name in got.terms if name in expected.terms}
    return {
        name: np.abs(a.reshape(len(a), -1) - b.reshape(len(b), -1)).max(axis=1, initial=0.0)
        for name, (a, b) in pairs.items()
    }


def _out_of_tolerance(errors: dict[str, np.ndarray], expected: Step, tolerance: Tolerance) -> list[str]:
    problems = []
    for name, allowed in zip(Tolerance._fields[:-1], tolerance, strict=False):
        scale = np.maximum(1, np.abs(expected.obs).max(axis=1)) if name == "obs" else 1
        for quantity in ("first_obs", "obs") if name == "obs" else (name,):
            share = (errors[quantity] <= allowed * scale).mean()  # written so that NaN is out
            if share < tolerance.share:
                wanted = f"{allowed:g}{' of the largest' if name == 'obs' else ''}, wanted {tolerance.share:.0%}"
                problems.append(f"{quantity}: {share:.0%} of the states within {wanted}")
    return problems


def _flags(
    task: Task, reference: Reference, got: Step, expected: Step, start: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[str]:
    """Worlds whose `terminated` differs for another reason than that the state is within our error of a limit.

    At Gymnasium's own state our function must say what Gymnasium said, and at one off by our error what we said.
    """
    problems = []
    for i in np.flatnonzero(got.terminated != expected.terminated):
        reference.step(*(x[i : i + 1] for x in start))
        view = reference.view()
        error = max(np.abs(got.qpos[i] - expected.qpos[i]).max(), np.abs(got.qvel[i] - expected.qvel[i]).max())
        there, below, above = (
            task.terminated(np, View({name: x + shift for name, x in view.arrays.items()}, {}))[0]
            for shift in (0, -error, error)
        )
        if there != expected.terminated[i] or got.terminated[i] not in (below, above):
            problems.append(f"terminated differs in state {i}: ours {got.terminated[i]}, error only {error:.1e}")
    return problems


def table(reports: list[Report]) -> str:
    """A row per kind and quantity: median, 95 % and maximum over the states."""
    lines = [f"{'states':12}{'n':>4}  {'quantity':28}{'median':>10}{'95 %':>10}{'max':>10}"]
    for report in reports:
        for i, (name, error) in enumerate(report.errors.items()):
            head = f"{report.kind:12}{report.states:4d}" if i == 0 else " " * 16
            numbers = "".join(f"{x:10.1e}" for x in (np.median(error), np.quantile(error, 0.95), error.max()))
            lines.append(f"{head}  {name:28}{numbers}")
    return "\n".join(lines)
