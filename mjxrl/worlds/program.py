"""One environment step of many worlds as a pure function: time limit, same-step autoreset, the true final observation.

Written once against an array namespace: MJX compiles it whole into one program, the native backend calls it as it
stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from mjxrl.envs.task import Array, Reset, Task, View
from mjxrl.physics import LARGEST, Physics, State
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.worlds import StepResult


class EnvState(NamedTuple):
    """Everything that the next vector step depends on; a pytree, so that it can be saved and restored whole."""

    physics: State
    view: View  # as the last step (or reset) left it: what rewards call `before`
    elapsed: Array  # (N,) int32, steps counted against the time limit
    random: Any  # the random state that resets draw from


def vector_reset(task: Task, physics: Physics, stagger: bool, state: State, random: Any) -> tuple[EnvState, Array]:
    """A fresh draw in every world and its first observation.

    With `stagger` the worlds start at random points of the time limit, one in each of as many equal parts of it: they
    are not truncated together, and fresh episodes begin from the first steps on.
    """
    xp = physics.xp
    random, noise = physics.draw(random, {**task.reset_noise(), "elapsed": ("uniform", 1)})
    started, obs = vector_set_state(task, physics, state, random, task.reset(xp, noise))
    if stagger:
        within = (noise["elapsed"][:, 0] + 1) / 2  # of the world's part
        phase = (xp.arange(physics.num_envs) + within) / physics.num_envs
        started = started._replace(elapsed=xp.astype(phase * task.max_episode_steps, xp.int32))
    return started, obs


def vector_set_state(task: Task, physics: Physics, state: State, random: Any, first: Reset) -> tuple[EnvState, Array]:
    """Put every world where `first` says: warm start, time and elapsed steps zero."""
    xp = physics.xp
    state = physics.set_where(state, xp.ones(physics.num_envs, bool), first)
    view = View(physics.view(state), dict(first.carry))
    elapsed = xp.zeros(physics.num_envs, xp.int32)
    obs = task.observation(xp, view)
    return EnvState(state, view, elapsed, random), xp.where(_bad(xp, obs), 0.0, obs)


def vector_restart(task: Task, physics: Physics, state: EnvState, mask: Array) -> tuple[EnvState, Array]:
    """A fresh draw in the worlds of `mask`, (N,) bool, and the observations of all of them."""
    obs = task.observation(physics.xp, state.view)
    state, first_obs = _restarted(task, physics, state, mask)
    return state, physics.put(mask, first_obs, obs)


def vector_step(task: Task, physics: Physics, state: EnvState, action: Array) -> tuple[EnvState, StepResult]:
    """Advance every world by one environment step under `action` `(N, A)` in [-1, 1]; restart those that are done."""
    xp = physics.xp
    ctrl = to_controls(action, physics.ctrl_low, physics.ctrl_high)

    before = state.view
    simulated = physics.step(state.physics, task.controls(xp, before, ctrl))
    after = View(physics.view(simulated), before.carry)
    qpos = task.settled(xp, after)
    if qpos is not None:
        simulated = physics.place(simulated, qpos)
        after = View(physics.view(simulated), before.carry)
    after = after._replace(carry=task.next_carry(xp, before, after, ctrl))

    terms = task.reward(xp, before, after, ctrl)
    final_obs, outcome = task.observation(xp, after), task.outcome(xp, after)
    elapsed = state.elapsed + 1
    fault = _faults(physics, action, physics.diverged(simulated), terms, final_obs)
    terminated, truncated = xp.asarray(task.terminated(xp, after), bool), elapsed >= task.max_episode_steps
    done = terminated | truncated | (fault > 0)

    def restart(operand: tuple[EnvState, Array, Array]) -> tuple[EnvState, Array, Array]:
        state, obs, fault = operand
        state, first_obs = _restarted(task, physics, state, done)
        unseen, known = _first(xp, _bad(xp, first_obs)), physics.picked(done, fault)  # first observations may be as bad
        known = xp.where((known == 0) & (unseen > 0), 2 + len(terms) + unseen, known)
        first_obs = xp.where(_bad(xp, first_obs), 0.0, first_obs)
        return state, physics.put(done, first_obs, obs), physics.put(done, known, fault)

    going_on = EnvState(simulated, after, elapsed, state.random)
    state, obs, fault = physics.when(done.any(), restart, (going_on, final_obs, fault))
    valid = fault == 0

    # such numbers must not reach statistics or losses: 0 * nan is nan
    def usable(x: Array) -> Array:
        return physics.seldom(
            lambda: not valid.all(), lambda: xp.where(valid, x, 0.0), lambda: xp.broadcast_to(x, valid.shape)
        )

    final_obs = physics.seldom(
        lambda: not valid.all(), lambda: xp.where(valid[:, None], final_obs, 0.0), lambda: final_obs
    )
    reward = usable(sum(terms.values()))
    terms, outcome = ({name: usable(x) for name, x in named.items()} for named in (terms, outcome))
    result = StepResult(obs, reward, terminated | ~valid, truncated & valid, final_obs, valid, terms, outcome, fault)
    return state, result


def _restarted(task: Task, physics: Physics, state: EnvState, mask: Array) -> tuple[EnvState, Array]:
    """A fresh draw in the worlds of `mask` and their first observations, as `Physics.picked` has them."""
    xp, picked = physics.xp, partial(physics.picked, mask)
    random, noise = physics.draw(state.random, task.reset_noise())
    first = task.reset(xp, {name: picked(drawn) for name, drawn in noise.items()})
    simulated = physics.set_where(state.physics, mask, first)
    carry = {name: physics.put(mask, first.carry[name], old) for name, old in state.view.carry.items()}
    view = View(physics.view(simulated), carry)
    obs = task.observation(xp, View(*({name: picked(x) for name, x in named.items()} for named in view)))
    return EnvState(simulated, view, xp.where(mask, 0, state.elapsed), random), obs


def _faults(physics: Physics, action: Array, diverged: Array, terms: Mapping[str, Array], obs: Array) -> Array:
    """Why the step of each world is of no use, `(N,)`, as `faults.faults` numbers it."""
    xp, numbers = physics.xp, [terms[name] for name in sorted(terms)]

    def all_sound() -> bool:
        within = (xp.min(x, initial=0) >= -LARGEST and xp.max(x, initial=0) <= LARGEST for x in (action, obs, *numbers))
        return not diverged.any() and all(within)

    def blame() -> Array:
        bad_terms = [xp.broadcast_to(_bad(xp, term), diverged.shape) for term in numbers]
        # the action too: MuJoCo quietly takes zeros for controls that are not finite
        marks = xp.stack([_bad(xp, action).any(axis=1), diverged, *bad_terms], axis=1)
        return _first(xp, xp.concatenate([marks, _bad(xp, obs)], axis=1))

    return physics.seldom(lambda: not all_sound(), blame, lambda: xp.zeros(diverged.shape, int))


def _bad(xp: Any, x: Array) -> Array:
    return ~(xp.abs(x) <= LARGEST)  # written so that NaN is bad


def _first(xp: Any, marks: Array) -> Array:
    """The number, from 1, of the first column of `marks`, (N, C) bool, that is true: (N,), 0 where none is."""
    return xp.where(marks.any(axis=1), 1 + xp.argmax(marks, axis=1), 0)
