"""Whether a backend does what MuJoCo's C does: one step of a few worlds, from states that both are put in.

The states come from random play in C, so that some are in contact, and are exact in float32. Contacts and stiff
constraints magnify rounding: C therefore also steps from states that differ in float32's last digit, and a world may be
off by some times what that changes. Nothing here depends on a run's seed: the answer is the same for every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from mjxrl.config import PhysicsConfig
from mjxrl.errors import UnavailableError
from mjxrl.physics.elements import owner
from mjxrl.worlds.runner import on_host
from mjxrl.worlds.vector_env import VectorEnv

LEAST, MOST = 8, 24  # worlds that are compared when a run starts: what one step of its program gives, if it can
_PLAY = 32  # steps of random play at most before a state is taken
# A right simulation in float32 is off by no more than this (docs/parity.md), per unit of the quantity's largest number
# in that world if it is above 1, and by no more than so many times what the last digit changes in C
_QPOS, _ELSE, _TIMES = 1e-5, 1e-3, 10
_LAST_DIGIT = 1e-7
_SHARE = 0.87  # of the worlds at least are right: one of 8 may be wrong, three of 24
_STATE = ("qpos", "qvel", "act")
_MADE = ("carry ", "reward", "outcome ", "observation", "terminated")  # names of what a task makes of its fields

Values = dict[str, np.ndarray]  # of n worlds, each (n, size) in float64, by name


class Comparison(NamedTuple):
    """What one step gave: the state, the fields that the task reads, and what it makes of them."""

    ours: Values
    in_c: Values
    close: Values
    """In C, from states that differ in the last digit."""

    def errors(self) -> Values:
        """Of each quantity the largest absolute error of a number, `(n,)`."""
        return _furthest(self.ours, self.in_c)

    def wrong(self) -> Values:
        """Of each quantity the worlds, `(n,)` bool, in which it is further off than float32 explains."""
        found, magnified = {}, _furthest(self.close, self.in_c)
        for name, error in self.errors().items():
            unit = np.abs(self.in_c[name]).max(axis=1, initial=1)
            allowed = (_QPOS if name == "qpos" else _ELSE) * unit + _TIMES * magnified[name]
            found[name] = ~(error <= allowed)  # written so that NaN is wrong
        return found

    def differences(self, model: mujoco.MjModel, share: float = _SHARE) -> Iterator[str]:
        """A line on each quantity that is right in less than a `share` of the worlds: where it is furthest off.

        A field only counts if something that the task makes of its fields is wrong too.
        """
        names = [name for name, wrong in self.wrong().items() if wrong.mean() > 1 - share]
        if not any(name.startswith(_MADE) for name in names):
            names = [name for name in names if name in _STATE]
        for name in names:
            ours, c = self.ours[name], self.in_c[name]
            error = np.nan_to_num(np.abs(ours - c), nan=np.inf)
            world, number = np.unravel_index(error.argmax(), error.shape)
            of = f" of {owner(model, name, int(number), c.shape[1])}" if c.shape[1] > 1 else ""
            values = f"{ours[world, number]:.6g} and in MuJoCo's C {c[world, number]:.6g}"
            yield f"{name}{of} is {values} after the same step, off by {error[world, number]:.3g}"


def check(worlds: VectorEnv, backend: str, config: PhysicsConfig) -> str | None:
    """Refuse a robot that is not C's; returns what to say of one that may go on, None on native, which is C.

    It runs the programs that training runs, in worlds of its own.

    Raises:
        UnavailableError: a quantity differs and `config` does not say that it may; the message says which, and where.
    """
    if backend == "native":
        return None
    same = {name: getattr(config, name) for name in ("threads", "max_contacts", "deterministic", "unchecked")}
    if config != PhysicsConfig(**same):
        return "physics: not compared with MuJoCo's C, which the options of --physics depart from"
    count = max(LEAST, min(MOST, worlds.num_envs))
    difference = next(compare(worlds.twin(), count).differences(worlds.task.model), None)
    if difference is None:
        return f"physics: as in MuJoCo's C, up to rounding, in one step of {count} worlds"
    if config.unchecked:
        return f"physics: not that of MuJoCo's C (--physics.unchecked): {difference}"
    name = type(worlds.task).__name__
    raise UnavailableError(f"--backend {backend}: allowed: native for {name}, or --physics.unchecked: {difference}")


def compare(worlds: VectorEnv, count: int) -> Comparison:
    """One step of `count` worlds in C and, in as many steps as that takes, of `worlds`, whose episodes are lost."""
    reference = VectorEnv(worlds.task, count, backend="native", device=torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    _play(reference, random)
    start = reference.state_dict()
    physics = {name: torch.tensor(part) for name, part in reference.state.physics.integration.items()}
    action = _any_action(reference, random)
    in_c, ended = _step(reference, action)
    reference.load_state_dict(start)
    for name in ("qpos", "qvel"):
        place = reference.state.physics.integration[name]
        place += _LAST_DIGIT * np.maximum(1, np.abs(place)) * np.random.default_rng(0).choice((-1, 1), place.shape)
    close, ended_close = _step(reference, action)
    reference.close()

    worlds.reset()
    template, ours = worlds.state_dict(), {name: np.empty_like(values) for name, values in in_c.items()}
    for first in range(0, count, worlds.num_envs):
        rows = slice(first, min(first + worlds.num_envs, count))
        n = rows.stop - first
        for path, target in template.items():
            name = path.replace("['", ".").replace("']", "")  # as in C's paths, which differ in physics only
            source = physics.get(name.rpartition(".")[2]) if name.startswith(".physics") else start.get(name)
            if source is not None and name != ".random":
                target[:n] = source[rows]
        worlds.load_state_dict(template)
        actions = torch.zeros(worlds.num_envs, worlds.action_size)
        actions[:n] = action[rows]
        values, done = _step(worlds, actions)
        ended[rows] |= done[:n] | ended_close[rows]
        for name, value in values.items():
            ours[name][rows] = value[:n]
    for side in (ours, in_c, close):
        for name, value in side.items():
            if name.startswith("carry ") or not name.startswith(_MADE):
                value[ended] = 0  # the state of an episode that ended is gone
    return Comparison(ours, in_c, close)


def _play(worlds: VectorEnv, random: torch.Generator) -> None:
    """Leave each world where random actions bring it in its own number of steps, from none to `_PLAY`."""
    worlds.reset(seed=0)
    states, lengths = worlds.state_dict(), torch.linspace(0, _PLAY, worlds.num_envs).long()
    for step in range(1, _PLAY + 1):
        worlds.step(_any_action(worlds, random))
        for path, value in worlds.state_dict().items():
            if path != ".random":
                states[path][lengths >= step] = value[lengths >= step]
    worlds.load_state_dict({path: x.float().to(x.dtype) if x.is_floating_point() else x for path, x in states.items()})


def _any_action(worlds: VectorEnv, random: torch.Generator) -> Tensor:
    return torch.rand(worlds.num_envs, worlds.action_size, generator=random) * 2 - 1


def _step(worlds: VectorEnv, action: Tensor) -> tuple[Values, np.ndarray]:
    """What a step gives, and the worlds, `(N,)` bool, whose episode it ends."""
    result, state = worlds.step(action), worlds.state
    physics, view = state.physics.integration, state.view
    made = {f"reward term {name}": term for name, term in result.reward_terms.items()} | {"reward": result.reward}
    made |= {f"outcome {name}": value for name, value in result.outcome.items()}
    made |= {"observation": result.final_obs, "terminated": result.terminated}
    values = {name: physics[name] for name in _STATE if name in physics} | dict(view.arrays)
    values |= {f"carry {name}": value for name, value in view.carry.items()}
    values |= made
    flat = {name: on_host(value).astype(float).reshape(worlds.num_envs, -1) for name, value in values.items()}
    return flat, result.done.cpu().numpy()


def _furthest(some: Values, others: Values) -> Values:
    return {name: np.abs(some[name] - other).max(axis=1, initial=0) for name, other in others.items()}
