"""A subclass's fields are its keywords however it is written; paths and changes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mjxrl.envs.hopper import Hopper
from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.pusher import Pusher
from mjxrl.envs.task import Task


def defaults(kind: type[Task]) -> tuple[Any, ...]:
    task = kind()
    return task.frame_skip, getattr(task, "healthy_reward", None), task.max_episode_steps


def test_a_subclass_without_the_decorator_has_its_own_keywords() -> None:
    class Undecorated(Hopper):
        frame_skip: int = 8
        healthy_reward: float = 50.0
        weight: float = 2.0

    class Bare(Hopper):
        frame_skip = 8
        healthy_reward = 50.0

    assert defaults(Undecorated) == defaults(Bare) == (8, 50.0, 1000)
    assert Undecorated(weight=3.0).weight == 3.0  # type: ignore[call-arg]
    assert Bare(frame_skip=2).dt == 2 * Hopper().model.opt.timestep
    assert defaults(Hopper) == (4, 1.0, 1000)


def test_a_decorated_subclass_of_one_without_the_decorator_inherits_its_keywords() -> None:
    class Middle(Hopper):
        frame_skip: int = 8
        max_episode_steps = 20

    @dataclass(frozen=True)
    class Last(Middle):
        healthy_reward = 50.0  # no annotation, which dataclass alone would not see

    assert defaults(Last) == (8, 50.0, 20)


def test_a_class_variable_takes_a_keyword_away() -> None:
    class Steeper(Pendulum):
        frame_skip = 1

    for kind in (Pendulum, Steeper):
        assert {field.name for field in fields(kind())} == {"g", "max_episode_steps"}


def test_the_time_limit_is_a_keyword_even_as_a_class_variable() -> None:
    """As tasks were written before it was one."""

    @dataclass(frozen=True)
    class Old(Hopper):
        max_episode_steps: ClassVar = 50  # type: ignore[misc]

    assert Old().max_episode_steps == 50 and Old(max_episode_steps=7).max_episode_steps == 7


def test_a_wrong_default_is_named() -> None:
    class Wrong(Hopper):
        frame_skip = "often"  # type: ignore[assignment]

    with pytest.raises(TypeError, match="Wrong: frame_skip must be int, not 'often'"):
        Wrong()


def test_an_id_is_not_inherited() -> None:
    class Mine(Pusher):
        pass

    class Same(Pusher):
        gymnasium_id = "Pusher-v5"

    assert Mine().gymnasium_id is None
    assert Same().gymnasium_id == Pusher.gymnasium_id == "Pusher-v5"


def test_changed_keywords() -> None:
    assert Hopper().changed_keywords == {}
    assert Hopper(frame_skip=4, healthy_reward=2).changed_keywords == {"healthy_reward": 2}
    assert Pusher(max_episode_steps=7).changed_keywords == {"max_episode_steps": 7}


def test_relative_paths_stay_where_they_led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Follows(Hopper):
        motion: Path = Path("motion.npz")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    task = Follows(xml_file="./model.xml")
    assert task.xml_file == str(tmp_path / "model.xml") and task.motion == tmp_path / "motion.npz"
    assert Hopper(xml_file="~/model.xml").xml_file == str(tmp_path / "home" / "model.xml")
    assert Hopper(xml_file="hopper.xml").xml_file == "hopper.xml"  # one of Gymnasium's
