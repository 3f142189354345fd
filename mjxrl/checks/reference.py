"""Gymnasium's own environment of a task, and states to put it in.

States come from random play in it, with and without active contacts, and from its resets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np

from mjxrl.envs.task import Task, View
from mjxrl.worlds.actions import to_controls

KINDS = ("contact", "no contact", "reset")
_MOST_STEPS = 4_000  # of random play; a task that offers no state of a kind until then has none
_EVERY = 4  # steps between two states taken from an episode


class Step(NamedTuple):
    """What one environment step gave, for n worlds, in float64."""

    qpos: np.ndarray
    qvel: np.ndarray
    first_obs: np.ndarray  # at the state that the step starts from
    obs: np.ndarray
    reward: np.ndarray
    terms: dict[str, np.ndarray]
    terminated: np.ndarray


class Reference:
    """Gymnasium's own environment of a task, put at any state."""

    def __init__(self, task: Task) -> None:
        keywords = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
        self.env: Any = gymnasium.make(str(task.gymnasium_id), **keywords).unwrapped
        self._task = task

    def put(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Start from qpos, qvel as after a reset; returns the observation there."""
        if self._task.analytic:
            self.env.reset(seed=0)
            self.env.state = np.array([qpos[0], qvel[0]])
            return self.env._get_obs()
        self.env.reset(seed=0)
        mujoco.mj_resetData(self.env.model, self.env.data)
        self.env.set_state(qpos, qvel)
        return self.env._get_obs()

    def step(self, qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> Step:
        """One step from each of these states, under actions in [-1, 1]."""
        low, high = self._task.model.actuator_ctrlrange.T
        ctrl = to_controls(action.astype(float), low, high)
        rows: list[dict[str, Any]] = []
        for i in range(len(qpos)):
            first = self.put(qpos[i], qvel[i])
            obs, reward, terminated, _, info = self.env.step(ctrl[i].copy())
            terms = {name: float(value) for name, value in info.items() if np.ndim(value) == 0}
            after = dict(zip(("qpos", "qvel"), self.state(), strict=True))
            rows.append(
                {**after, "first_obs": first, "obs": obs, "reward": reward, "terms": terms, "terminated": terminated}
            )
        arrays = {name: np.array([row[name] for row in rows]) for name in Step._fields if name != "terms"}
        terms = {name: np.array([row["terms"][name] for row in rows]) for name in rows[0]["terms"]}
        return Step(**arrays, terms=terms)

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """qpos and qvel as they are now."""
        if self._task.analytic:
            angle, velocity = self.env.state
            return np.array([angle]), np.array([velocity])
        return self.env.data.qpos.copy(), self.env.data.qvel.copy()

    def view(self) -> View:
        """What our task would see of Gymnasium's simulation now."""
        if self._task.analytic:
            qpos, qvel = self.state()
            return View({"qpos": qpos[None], "qvel": qvel[None]}, {})
        return View({name: np.array(getattr(self.env.data, name))[None] for name in self._task.fields}, {})

    def states(self, count: int, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Up to `count` states of each kind, exact in float32: qpos `(n, nq)` and qvel `(n, nv)`."""
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {kind: [] for kind in KINDS}
        for seed in range(count):
            self.env.reset(seed=seed)
            found["reset"].append(self._in_float32())
        for step in self._play(rng):
            if all(len(found[kind]) >= count for kind in KINDS):
                break
            if step % _EVERY == _EVERY - 1:
                state = self._in_float32()
                kind = "contact" if self._touches(*state) else "no contact"
                if len(found[kind]) < count:
                    found[kind].append(state)
        model = self._task.model
        return {
            kind: (
                np.array([q for q, _ in rows]).reshape(-1, model.nq),
                np.array([v for _, v in rows]).reshape(-1, model.nv),
            )
            for kind, rows in found.items()
        }

    def _play(self, rng: np.random.Generator) -> Iterator[int]:
        """Random actions; yields the step of the episode after each."""
        low, high = self._task.model.actuator_ctrlrange.T
        seed, step = 1_000, self._task.max_episode_steps
        for _ in range(_MOST_STEPS):
            if step >= min(60, self._task.max_episode_steps):
                self.env.reset(seed=seed)
                seed, step = seed + 1, 0
            *_, terminated, _, _ = self.env.step(rng.uniform(low, high))
            yield step
            step = self._task.max_episode_steps if terminated else step + 1

    def _in_float32(self) -> tuple[np.ndarray, np.ndarray]:
        qpos, qvel = self.state()
        return qpos.astype(np.float32).astype(float), qvel.astype(np.float32).astype(float)

    def _touches(self, qpos: np.ndarray, qvel: np.ndarray) -> bool:
        if self._task.analytic:
            return False
        data = mujoco.MjData(self.env.model)
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(self.env.model, data)
        return data.ncon > 0
