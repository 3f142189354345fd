"""Do a task's functions return what worlds take them for? A reset and a step of a few worlds, in C, before all else.

On MJX a wrong shape would show as an error deep inside a compilation, on numpy as silent broadcasting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from mjxrl.config import PhysicsConfig
from mjxrl.envs.task import Controls, Distribution, Reset, Task, View
from mjxrl.errors import TaskError
from mjxrl.physics import field_shapes, make_physics

_NUMBERS, _TRUTH = "fiub", "biu"  # kinds of numpy's dtypes


def observation_size(task: Task) -> int:
    """Length O of one observation of `task`, all of whose functions are checked on the way.

    A reward term or a termination may be one number for all worlds, and terminations may be integers, of which 0 goes
    on. Nothing else is made to fit.

    Raises:
        TaskError: a function returns something else than `Task` says; the line names it, what it returned and what is
            wanted. What a function itself raises passes through.
    """
    check = _Check(task)
    spec = check.noise(task.reset_noise())
    physics = make_physics(task, check.worlds, "native", PhysicsConfig(threads=1))
    state, random = physics.init(0)
    _, noise = physics.draw(random, spec)
    first = check.first(task.reset(np, noise))
    state = physics.set_where(state, np.ones(check.worlds, bool), first)
    before = View(physics.view(state), dict(first.carry))
    size = check.array("observation", task.observation(np, before), ("O",))[1]

    ctrl = np.tile((physics.ctrl_low + physics.ctrl_high) / 2, (check.worlds, 1))
    if task.analytic:
        check.moved(task.dynamics(np, before.qpos, before.qvel, ctrl))
    controls = check.controls(task.controls(np, before, ctrl))
    after = View(physics.view(physics.step(state, controls)), before.carry)
    settled = task.settled(np, after)
    if settled is not None:
        check.array("settled", settled, (task.model.nq,))
    after = after._replace(carry=check.next_carry(before.carry, task.next_carry(np, before, after, ctrl)))
    check.terms(task.reward(np, before, after, ctrl))
    check.array("terminated", task.terminated(np, after), (), _TRUTH, or_scalar=True)
    for name, value in task.outcome(np, after).items():
        check.array(f"outcome: {name!r}", value, ())
    if task.goals is not None:
        achieved, desired = (task.observation(np, after)[:, columns] for columns in task.goals[:2])
        check.array("goal_reward", task.goal_reward(np, achieved, desired), ())
    return size


class _Check:
    """Holds what each function returned against what `Task` says of it.

    Attributes:
        worlds: N, unlike every size of the task, so that no other axis can pass for the worlds'.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._model = task, task.model
        sizes = {self._model.nq, self._model.nv, self._model.nu, 3, 4}.union(*field_shapes(task).values())
        self.worlds = next(n for n in range(2, len(sizes) + 3) if n not in sizes)

    def array(
        self, what: str, value: Any, sizes: tuple[Any, ...], kinds: str = _NUMBERS, *, or_scalar: bool = False
    ) -> tuple[int, ...]:
        """The shape of `value`: (N, *sizes), where a letter is any size but 0; of a dtype of one of these kinds."""
        wanted = _written(("N", *sizes))
        if not hasattr(value, "shape") and not (or_scalar and np.isscalar(value)):
            raise self._wrong(what, value, f"an array {wanted}")
        shape, dtype = np.shape(value), np.asarray(value).dtype
        fits = len(shape) == 1 + len(sizes) and shape[0] == self.worlds
        fits = fits and all(n > 0 if isinstance(size, str) else n == size for n, size in zip(shape[1:], sizes))  # noqa: B905
        if not fits and not (or_scalar and shape == ()):
            found = tuple("N" if n == self.worlds else n for n in shape)
            raise self._error(what, f"has shape {_written(found)}", wanted)
        if dtype.kind not in kinds:
            raise self._error(what, f"is of {dtype}", "numbers" if kinds == _NUMBERS else "bool")
        return shape

    def noise(self, spec: Any) -> Mapping[str, tuple[Distribution, int]]:
        """What `reset_noise` returned."""
        kinds = get_args(Distribution)
        for name, pair in self._dict("reset_noise", spec).items():
            match pair:
                case (kind, int(size)) if kind in kinds and size >= 0:
                    continue
            raise self._error(f"reset_noise: {name!r}", f"is {pair!r}", f"one of {', '.join(kinds)} and a size")
        return spec

    def first(self, first: Any) -> Reset:
        """What `reset` returned."""
        if not isinstance(first, Reset):
            raise self._wrong("reset", first, "a Reset")
        model = self._model
        self.array("reset: qpos", first.qpos, (model.nq,))
        self.array("reset: qvel", first.qvel, (model.nv,))
        self._mocap("reset", first)
        for name, value in self._dict("reset: carry", first.carry).items():
            self.array(f"reset: carry {name!r}", value, np.shape(value)[1:])
        return first

    def controls(self, controls: Any) -> Controls:
        """What `controls` returned."""
        if not isinstance(controls, Controls):
            raise self._wrong("controls", controls, "a Controls")
        self.array("controls: ctrl", controls.ctrl, (self._model.nu,))
        self._mocap("controls", controls)
        return controls

    def next_carry(self, before: Mapping[str, Any], carry: Any) -> Mapping[str, Any]:
        """What `next_carry` returned, after the carry `before`."""
        if self._dict("next_carry", carry).keys() != before.keys():
            raise self._error("next_carry", f"has {sorted(carry)}", f"what reset has, {sorted(before)}")
        for name, old in before.items():
            self.array(f"next_carry: {name!r}", carry[name], np.shape(old)[1:])
            if carry[name].dtype.kind != old.dtype.kind:
                raise self._error(f"next_carry: {name!r}", f"is of {carry[name].dtype}", f"{old.dtype}, as from reset")
        return carry

    def moved(self, state: Any) -> None:
        """What `dynamics` returned."""
        if not isinstance(state, tuple) or len(state) != 2:
            raise self._wrong("dynamics", state, "a pair, qpos and qvel")
        self.array("dynamics: qpos", state[0], (self._model.nq,))
        self.array("dynamics: qvel", state[1], (self._model.nv,))

    def terms(self, reward: Any) -> None:
        """What `reward` returned."""
        if not self._dict("reward", reward):
            raise self._error("reward", "is empty", "at least one term")
        for name, term in reward.items():
            self.array(f"reward: term {name!r}", term, (), or_scalar=True)

    def _mocap(self, what: str, places: Reset | Controls) -> None:
        for name, size in (("mocap_pos", 3), ("mocap_quat", 4)):
            if getattr(places, name) is not None:
                self.array(f"{what}: {name}", getattr(places, name), (self._model.nmocap, size))

    def _dict(self, what: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._wrong(what, value, "a dict")
        return value

    def _wrong(self, what: str, value: Any, wanted: str) -> TaskError:
        return self._error(what, f"is {'None' if value is None else f'of type {type(value).__name__}'}", wanted)

    def _error(self, what: str, found: str, wanted: str) -> TaskError:
        return TaskError(f"{type(self._task).__name__}.{what} {found}, wanted {wanted}, for N worlds")


def _written(sizes: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
