"""A task whose functions return something else than worlds take is refused in a line that says which and what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Reset, Task
from mjxrl.errors import Refusal, TaskError
from mjxrl.physics.native import NativePhysics
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.vector_env import VectorEnv, make_vec

CPU = torch.device("cpu")


class Cart(Task):
    """nq = nv = 2, nu = 1, and a carry."""

    xml_file: str = "inverted_pendulum.xml"

    def reset(self, xp, noise):
        return super().reset(xp, noise)._replace(carry={"phase": xp.zeros((noise["qpos"].shape[0], 3))})

    def reward(self, xp, before, after, action):
        return {"upright": -xp.square(after.qpos[:, 1]), "alive": 1.0}


def returning(function: str, value: Any) -> Task:
    """A cart one of whose functions returns `value(xp, *arguments)`."""
    method = lambda self, xp=None, *arguments: value(xp, *arguments)  # noqa: E731
    return type("Mine", (Cart,), {function: method})()


def replaced(**fields: Any) -> Any:
    """A reset with some fields replaced, each made of the number of worlds."""

    def reset(xp: Any, noise: Any) -> Reset:
        worlds = len(noise["qpos"])
        first = Reset(np.zeros((worlds, 2)), np.zeros((worlds, 2)), {"phase": np.zeros((worlds, 3))})
        return first._replace(**{name: value(worlds) for name, value in fields.items()})

    return reset


WRONG = {
    "observation flat": ("observation", lambda xp, v: v.qpos[:, 0], r"observation has shape \(N,\), wanted \(N, O\)"),
    "observation list": (
        "observation",
        lambda xp, v: [v.qpos],
        "observation is of type list, wanted an array",
    ),
    "observation none": ("observation", lambda xp, v: None, "observation is None, wanted an array"),
    "observation empty": ("observation", lambda xp, v: v.qpos[:, :0], r"observation has shape \(N, 0\)"),
    "observation turned": ("observation", lambda xp, v: v.qpos.T, r"observation has shape \(2, N\)"),
    "observation text": ("observation", lambda xp, v: v.qpos.astype(str), "observation is of <U.*, wanted numbers"),
    "reward wide": (
        "reward",
        lambda xp, b, a, u: {"pos": a.qpos[:, :1], "ctl": u.sum(axis=1)},
        r"reward: term 'pos' has shape \(N, 1\), wanted \(N,\)",
    ),
    "reward summed over worlds": (
        "reward",
        lambda xp, b, a, u: {"pos": a.qpos.sum(axis=0)},
        r"reward: term 'pos' has shape \(2,\), wanted \(N,\)",
    ),
    "reward no dict": ("reward", lambda xp, b, a, u: a.qpos[:, 0], "reward is of type ndarray, wanted a dict"),
    "reward empty": ("reward", lambda xp, b, a, u: {}, "reward is empty, wanted at least one term"),
    "reward none": ("reward", lambda xp, b, a, u: {"pos": None}, "reward: term 'pos' is None, wanted an array"),
    "terminated wide": ("terminated", lambda xp, v: v.qpos[:, :1] > 0, r"terminated has shape \(N, 1\), wanted \(N,\)"),
    "terminated each": ("terminated", lambda xp, v: v.qpos > 0, r"terminated has shape \(N, 2\), wanted \(N,\)"),
    "terminated real": ("terminated", lambda xp, v: v.qpos[:, 0], "terminated is of float64, wanted bool"),
    "reset no Reset": (
        "reset",
        lambda xp, noise: (noise["qpos"], noise["qvel"]),
        "reset is of type tuple, wanted a Reset",
    ),
    "reset one world": (
        "reset",
        replaced(qpos=lambda n: np.zeros(2)),
        r"reset: qpos has shape \(2,\), wanted \(N, 2",
    ),
    "reset narrow": ("reset", replaced(qvel=lambda n: np.zeros((n, 1))), r"reset: qvel has shape \(N, 1\), wanted"),
    "reset no worlds": ("reset", replaced(qvel=lambda n: np.zeros((1, 2))), r"reset: qvel has shape \(1, 2\), wanted"),
    "reset mocap": (
        "reset",
        replaced(mocap_pos=lambda n: np.zeros((n, 3))),
        r"reset: mocap_pos has shape \(N, 3\), wanted \(N, 0, 3\)",
    ),
    "carry flat": (
        "reset",
        replaced(carry=lambda n: {"t": np.zeros(7)}),
        r"reset: carry 't' has shape \(7,\), wanted",
    ),
    "carry number": ("reset", replaced(carry=lambda n: {"t": 0}), "reset: carry 't' is of type int, wanted an array"),
    "carry other name": ("next_carry", lambda xp, b, a, u: {"time": 0}, r"next_carry has \['time'\], wanted .*'phase'"),
    "carry other shape": (
        "next_carry",
        lambda xp, b, a, u: {"phase": b.carry["phase"][:, 0]},
        r"next_carry: 'phase' has shape \(N,\), wanted \(N, 3\)",
    ),
    "carry other type": (
        "next_carry",
        lambda xp, b, a, u: {"phase": b.carry["phase"].astype(int)},
        "next_carry: 'phase' is of int64, wanted float64",
    ),
    "noise": (
        "reset_noise",
        lambda xp: {"qpos": 3},
        "reset_noise: 'qpos' is 3, wanted one of uniform, normal",
    ),
    "noise kind": ("reset_noise", lambda xp: {"qpos": ("gauss", 3)}, r"reset_noise: 'qpos' is \('gauss', 3\), wanted"),
}


@pytest.mark.parametrize(("function", "value", "said"), WRONG.values(), ids=WRONG)
def test_what_worlds_cannot_use_is_refused_by_name(function: str, value: Any, said: str) -> None:
    with pytest.raises(TaskError, match=rf"^Mine\.{said}.*, for N worlds$"):
        VectorEnv(returning(function, value), 4, backend="native", device=CPU)


def test_no_program_is_built_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("physics was made")

    monkeypatch.setattr("mjxrl.worlds.vector_env.make_physics", fail)
    with pytest.raises(TaskError, match="observation"):
        VectorEnv(returning("observation", lambda xp, view: view.qpos[:, 0]), 4, backend="jax", device=CPU)


def test_dynamics_of_ones_own() -> None:
    class Narrow(Pendulum):
        def dynamics(self, xp, qpos, qvel, ctrl):
            return qpos[:, 0], qvel

    class Single(Pendulum):
        def dynamics(self, xp, qpos, qvel, ctrl):
            return qpos

    with pytest.raises(TaskError, match=r"Narrow\.dynamics: qpos has shape \(N,\), wanted \(N, 1\)"):
        observation_size(Narrow())
    with pytest.raises(TaskError, match=r"Single\.dynamics is of type ndarray, wanted a pair, qpos and qvel"):
        observation_size(Single())


@pytest.mark.parametrize("backend", ["native", "jax"])
def test_what_can_only_be_meant_one_way_is_taken(backend: str) -> None:
    """Numbers for all worlds, and integers for terminations."""

    class Loose(Pendulum):  # no time to compile
        def terminated(self, xp, view):
            return xp.where(view.qpos[:, 0] > 0, 1, 0)

        def reward(self, xp, before, after, action):
            return {"alive": 1, "bonus": xp.asarray(0.5)}

    env = VectorEnv(Loose(), 3, backend=backend, device=CPU)
    env.set_state(torch.tensor([[0.5], [-0.5], [0.5]]), torch.zeros(3, 1))
    result = env.step(torch.zeros(3, 1))
    assert result.terminated.dtype == torch.bool and result.terminated.tolist() == [True, False, True]
    assert result.reward.tolist() == [1.5] * 3


def test_what_a_function_raises_passes_through() -> None:
    def observation(xp: Any, view: Any) -> Any:
        return view.qpos + np.zeros(5)

    with pytest.raises(ValueError, match="broadcast") as error:
        VectorEnv(returning("observation", observation), 4, backend="native", device=CPU)
    assert not isinstance(error.value, Refusal)
    assert error.traceback[-1].name == "observation"


def test_no_size_of_the_task_passes_for_the_worlds() -> None:
    assert observation_size(Cart()) == 4
    for worlds in (2, 5):
        with pytest.raises(TaskError, match=r"has shape \(2,\)"):
            VectorEnv(returning("reward", lambda xp, b, a, u: {"x": a.qpos[0]}), worlds, backend="native", device=CPU)


def test_mujoco_is_never_handed_an_index_or_a_size_that_ends_the_process() -> None:
    physics = NativePhysics(Cart(), 2)
    first = Reset(np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"mask of worlds has shape \(2, 2\)"):
        physics.set_where(physics, np.ones((2, 2), bool), first)
    numbers: list[Any] = [0, -1, 2.5, 2**32 + 4]
    for worlds in numbers:
        for backend in ("native", "jax"):
            with pytest.raises(Refusal, match=f"num_envs {worlds}: allowed: a whole number, at least 1"):
                make_vec("Hopper-v5", worlds, backend=backend, device="cpu")
