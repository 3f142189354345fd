"""The parity check itself: it passes what is equal and names what is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from mjxrl.checks import parity
from mjxrl.checks.parity import compare, table
from mjxrl.checks.reference import Reference, Step
from mjxrl.cli.parity import main, parse_options
from mjxrl.envs import SUITE, task_class
from mjxrl.envs.hopper import Hopper
from mjxrl.envs.task import View
from mjxrl.worlds import against_c


@pytest.mark.parametrize("env_id", SUITE)
def test_native_is_gymnasium(env_id: str) -> None:
    reports = compare(task_class(env_id)(), "native", states=4)
    assert {r.kind for r in reports} >= {"reset"} and all(r.states for r in reports)
    assert [r.problems for r in reports] == [[]] * len(reports)
    assert all(r.errors["qpos"].max() == r.errors["qvel"].max() == 0 for r in reports)  # the same C code


@dataclass(frozen=True)
class WrongReward(Hopper):
    gymnasium_id: ClassVar = "Hopper-v5"

    def reward(self, xp, before, after, action):
        terms = super().reward(xp, before, after, action)
        return {**terms, "reward_ctrl": 1.1 * terms["reward_ctrl"]}


@dataclass(frozen=True)
class WrongObservation(Hopper):
    gymnasium_id: ClassVar = "Hopper-v5"

    def observation(self, xp, view):
        return super().observation(xp, view)[:, ::-1]


@dataclass(frozen=True)
class WrongTermination(Hopper):
    gymnasium_id: ClassVar = "Hopper-v5"

    def terminated(self, xp, view):
        return ~super().terminated(xp, view)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(WrongReward, "reward: "), (WrongObservation, "first_obs: "), (WrongTermination, "terminated differs")],
)
def test_a_wrong_task_is_found(wrong: type[Hopper], said: str) -> None:
    reports = compare(wrong(), "native", states=4)
    assert len(reports) == 3
    assert all(any(line.startswith(said) for line in report.problems) for report in reports)


def test_states_are_of_their_kind_and_exact_in_float32() -> None:
    reference = Reference(Hopper())
    found = reference.states(5, np.random.default_rng(0))
    assert {kind: len(qpos) for kind, (qpos, _) in found.items()} == {"contact": 5, "no contact": 5, "reset": 5}
    for kind, (qpos, qvel) in found.items():
        assert (qpos == qpos.astype(np.float32)).all() and (qvel == qvel.astype(np.float32)).all()
        if kind != "reset":
            assert all(reference._touches(q, v) == (kind == "contact") for q, v in zip(qpos, qvel, strict=True))


class AtTheLimit:
    """Stands for Gymnasium just above the height at which Hopper falls."""

    def step(self, *_: Any) -> None: ...

    def view(self) -> View:
        return View({"qpos": np.array([[0, 0.7 + 1e-7, 0, 0, 0, 0]]), "qvel": np.zeros((1, 6))}, {})


@pytest.mark.parametrize(("error", "problems"), [(1e-6, 0), (1e-9, 1)])
def test_a_flag_may_differ_if_its_margin_is_within_the_error(error: float, problems: int) -> None:
    zeros = np.zeros((1, 6))
    expected = Step(zeros, zeros, zeros, zeros, zeros[0], {}, np.array([False]))
    ours = expected._replace(qpos=zeros + error, terminated=np.array([True]))
    start = (zeros, zeros, zeros)
    assert len(parity._flags(Hopper(), AtTheLimit(), ours, expected, start)) == problems  # type: ignore[arg-type]


def test_nan_is_out_of_tolerance() -> None:
    zeros = np.zeros((4, 1))
    expected = Step(zeros, zeros, zeros, zeros, zeros[:, 0], {}, np.zeros(4, bool))
    errors = {name: np.zeros(4) for name in ("qpos", "qvel", "first_obs", "obs", "reward")}
    assert parity._out_of_tolerance(errors, expected, parity.TOLERANCES["native"]) == []
    errors["qvel"][2] = np.nan
    assert parity._out_of_tolerance(errors, expected, parity.TOLERANCES["native"])[0].startswith("qvel: 75%")


def test_the_table_has_median_95_percent_and_maximum() -> None:
    report = parity.Report("contact", 101, {"qpos": np.arange(101) / 100}, [])
    assert table([report]).splitlines()[1].split() == ["contact", "101", "qpos", "5.0e-01", "9.5e-01", "1.0e+00"]


def test_a_task_of_ones_own_is_held_against_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["mjxrl-parity", "--env", "tests.helpers.arms:Arm", "--states", "8", "--backend"]
    monkeypatch.setattr("sys.argv", [*words, "jax"])
    assert main() == 0
    said = capsys.readouterr().out
    assert "tests.helpers.arms:Arm: equal" in said and "all within tolerance" in said
    assert [line[18:46].strip() for line in said.splitlines() if "e-0" in line] == [
        *("qpos", "qvel", "reward term upright", "reward", "observation"),
    ]
    zeros = {"qvel": np.zeros((8, 2))}
    off = against_c.Comparison({"qvel": np.ones((8, 2))}, zeros, zeros)
    monkeypatch.setattr(against_c, "compare", lambda worlds, count: off)
    assert main() == 1
    assert "  play: qvel of joint 'a' is 1 and in MuJoCo's C 0 after" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*words, "native"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: --backend native: allowed: jax, warp for Arm, which is compared ")


def test_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["mjxrl-parity", "--env", "Hopper-v5", "InvertedPendulum-v5", "--states", "2"])
    assert main() == 0
    said = capsys.readouterr().out
    assert "Hopper-v5: equal" in said and "all within tolerance" in said and "mujoco 3." in said
    monkeypatch.setitem(parity.TOLERANCES, "native", parity.TOLERANCES["native"]._replace(qpos=-1.0))
    assert main() == 1
    assert "Hopper-v5: OUT OF TOLERANCE" in capsys.readouterr().out


def test_refusals_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", "Ant-v4", "my:Task", "--backend", "gpu", "--states", "0", "--physics.accuracy", "slow"]
    with pytest.raises(SystemExit) as stop:
        parse_options(words)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    starts = [
        "error: --backend gpu: ",
        "error: --physics.accuracy slow: ",
        "error: --env Ant-v4: no such task",
        "error: --env my:Task: no module named 'my'",
        "error: --states 0: ",
    ]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 5
