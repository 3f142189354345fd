"""What a run on jax or warp does first: one step of a few worlds beside MuJoCo's C."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mjxrl.config import PhysicsConfig
from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Reset
from mjxrl.errors import UnavailableError
from mjxrl.physics.elements import owner
from mjxrl.worlds import against_c
from mjxrl.worlds.against_c import Comparison
from mjxrl.worlds.vector_env import VectorEnv
from tests.helpers.arms import MOTORS, Arm, arm
from tests.helpers.small_runs import rows_of, small, train

CPU = torch.device("cpu")
UNCHECKED = PhysicsConfig(unchecked=True)


def worlds_of(task: Arm, num_envs: int = 8, backend: str = "jax", config: PhysicsConfig = UNCHECKED) -> VectorEnv:
    return VectorEnv(task, num_envs, backend=backend, device=CPU, physics=config)


@dataclass(frozen=True)
class Whole(Arm):
    """Everything that a state may hold: activations, mocap bodies, time, a carry; its rewards depend on each."""

    fields: ClassVar = ("qpos", "qvel", "act", "time", "mocap_pos", "sensordata")
    model: ClassVar = arm(
        MOTORS + '<intvelocity name="slow" joint="b" kp="1" actrange="-1 1" ctrlrange="-1 1"/>',
        world='<body name="goal" mocap="true"/>',
        joint='range="-90 90" limited="true"',
        more='<sensor><gyro name="gyro" site="tip"/><framepos objtype="body" objname="goal"/></sensor>',
    )  # type: ignore[assignment]

    def reset_noise(self):
        return {**super().reset_noise(), "goal": ("uniform", 3)}

    def reset(self, xp, noise):
        first = super().reset(xp, noise)
        return Reset(first.qpos, first.qvel, {"steps": noise["goal"][:, :1]}, mocap_pos=noise["goal"][:, None])

    def next_carry(self, xp, before, after, action):
        return {"steps": before.carry["steps"] + 1}

    def reward(self, xp, before, after, action):
        return {"moved": before.qpos[:, 0] - after.qpos[:, 0], "state": after.act[:, 0] + after.carry["steps"][:, 0]}

    def terminated(self, xp, view):
        return view.qpos[:, 1] > 1.2


@pytest.fixture(scope="module", params=["jax", "warp"])
def whole(request: pytest.FixtureRequest) -> VectorEnv:
    if request.param == "warp":
        pytest.importorskip("mujoco_warp", reason="Warp is missing: pip install 'mjxrl[warp]'")
    return worlds_of(Whole(), backend=request.param)


def test_a_right_simulation_passes_and_its_worlds_are_left_alone(whole: VectorEnv) -> None:
    whole.reset()
    action = torch.full((8, 3), 0.3)
    whole.step(action)
    saved = whole.state_dict()
    comparison = against_c.compare(whole.twin(), 20)  # eight at a time
    assert not list(comparison.differences(whole.task.model))
    errors = {name: error.max() for name, error in comparison.errors().items()}
    assert 0 < errors["qvel"] < 1e-4 and errors["time"] < 1e-6 and errors["reward term state"] < 1e-5
    assert {"qpos", "act", "mocap_pos", "sensordata", "reward term moved", "reward", "observation"} <= errors.keys()
    assert all(len(error) == 20 for error in comparison.errors().values())
    assert comparison.in_c["time"].max() > 0.1  # from states that were played, not only from resets
    assert all(torch.equal(value, saved[name]) for name, value in whole.state_dict().items())
    if hasattr(whole._step, "_cache_size"):  # jax
        assert whole._step._cache_size() == 1  # type: ignore[attr-defined]


def test_another_robot_is_refused_unless_that_is_wanted() -> None:
    """Nobody knew this one: MJX 3.17 leaves accelerometers at zero in a model that no constraint can hold."""
    sensors = '<sensor><gyro name="turn" site="tip"/><accelerometer name="felt" site="tip"/></sensor>'
    content = {
        "model": arm(more=sensors),
        "fields": ("qpos", "sensordata"),
        "observation": lambda _, xp, v: v.sensordata,
    }
    other = type("Other", (Arm,), content)()
    worlds = worlds_of(other)
    with pytest.raises(UnavailableError) as refused:
        against_c.check(worlds, "jax", PhysicsConfig())
    said = "sensordata of sensor 'felt' is 0 and in MuJoCo's C "
    line = str(refused.value)
    assert line.startswith(f"--backend jax: allowed: native for Other, or --physics.unchecked: {said}")
    assert float(line.rpartition("off by ")[2]) > 1 and "\n" not in line
    remark = against_c.check(worlds, "jax", UNCHECKED)
    assert str(remark).startswith(f"physics: not that of MuJoCo's C (--physics.unchecked): {said}")


def test_options_that_depart_from_c_are_not_held_against_it() -> None:
    for config in (PhysicsConfig(accuracy="fast"), PhysicsConfig(stock_frames=True), PhysicsConfig(iterations=2)):
        assert "not compared" in str(against_c.check(None, "jax", config))  # type: ignore[arg-type]
    assert against_c.check(None, "native", PhysicsConfig()) is None  # type: ignore[arg-type]


def test_a_few_worlds_may_differ_and_nan_is_a_difference() -> None:
    c = {name: np.zeros((8, size)) for name, size in {"qpos": 2, "xpos": 9, "reward": 1, "observation": 5}.items()}
    c["qvel"] = np.full((8, 2), 100.0)
    model = Arm.model
    ours, close = ({name: value.copy() for name, value in c.items()} for _ in range(2))
    ours["qvel"] += 0.09  # of a hundred
    ours["qpos"][0, 1] = 1e-4
    assert not list(Comparison(ours, c, close).differences(model))
    ours["qpos"][1, 1] = 2e-4
    said = "qpos of joint 'b' is 0.0002 and in MuJoCo's C 0 after the same step, off by 0.0002"
    assert list(Comparison(ours, c, close).differences(model)) == [said]
    close["qpos"][1, 0] = 1e-4  # a tenth of what the last digit changes there
    assert not list(Comparison(ours, c, close).differences(model))
    ours["xpos"][:, 7] = 1  # a field that the task makes nothing of
    assert not list(Comparison(ours, c, close).differences(model))
    ours["observation"][:, 0] = 1
    said = ["xpos of body 'lower' is 1 and in", "observation of number 0 is 1 and in"]
    assert [line[: len(said[i])] for i, line in enumerate(Comparison(ours, c, close).differences(model))] == said
    ours["xpos"][:] = ours["observation"][:] = 0
    ours["reward"][:2] = np.nan
    assert next(Comparison(ours, c, close).differences(model)).startswith("reward is nan and in MuJoCo's C 0")


def test_every_number_has_an_owner() -> None:
    model = Whole.model
    assert owner(model, "qvel", 1, 2) == owner(model, "qfrc_passive", 1, 2) == "joint 'b'"
    assert owner(model, "act", 0, 1) == owner(model, "ctrl", 2, 3) == owner(model, "actuator_force", 2, 3)
    assert owner(model, "act", 0, 1) == "actuator 'slow'"
    assert (
        owner(model, "sensordata", 2, 6) == "sensor 'gyro'" and owner(model, "sensordata", 3, 6) == "sensor 'number 1'"
    )
    assert owner(model, "xmat", 35, 36) == owner(model, "cvel", 23, 24) == "body 'lower'"
    assert owner(model, "mocap_pos", 2, 3) == "body 'goal'" and owner(model, "geom_xpos", 5, 6) == "geom 'lower'"
    assert owner(model, "site_xpos", 0, 3) == "site 'tip'" and owner(model, "observation", 3, 9) == "number 3"


def test_a_run_looks_first_and_learns_what_it_would_have_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused in a line that leaves no folder; unchecked it goes on; and nothing of the run depends on the look."""
    options: dict[str, Any] = {"env": "Pendulum-v1", "task": Pendulum(), "backend": "jax"}
    config = small("td3", **options, total_steps=160, eval={"every": 0, "final_episodes": 0})
    looked = train(replace(config, run_dir=tmp_path / "looked"))
    assert "as in MuJoCo's C, up to rounding, in one step of 8 worlds" in capsys.readouterr().out
    monkeypatch.setattr(Comparison, "differences", lambda self, model: iter(["qvel of joint 'a' is wrong"]))
    with pytest.raises(UnavailableError, match=r"--physics.unchecked: qvel of joint 'a' is wrong"):
        train(replace(config, run_dir=tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
    monkeypatch.setattr(against_c, "compare", None)
    departed = replace(config, run_dir=tmp_path / "not", physics=replace(config.physics, iterations=8))
    assert rows_of(train(departed)) == rows_of(looked)
