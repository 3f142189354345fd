"""config.json holds the whole configuration and gives it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mjxrl.config.presets import default_config, merged
from mjxrl.envs.ant import Ant
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.task import Task
from mjxrl.errors import RunError
from mjxrl.storage import run_dir


@pytest.mark.parametrize("task", [Ant(ctrl_cost_weight=0.25), HalfCheetah(ctrl_cost_weight=0.25)])
def test_round_trip(task: Task, tmp_path: Path) -> None:
    changes = {"task": task, "run_dir": tmp_path / "run", "learner": {"actor_hidden": (8, 9)}, "max_minutes": 2.5}
    config = merged(default_config(str(task.gymnasium_id), "td3", num_envs=4, device="cpu"), changes)
    path = run_dir.create(config)
    run_dir.note(path, config, {"device": "cpu"})
    assert run_dir.load_config(path) == config
    saved = json.loads((path / "config.json").read_text())
    assert saved["resolved"] == {"device": "cpu"} and saved["versions"]["torch"]


def test_never_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    config = merged(default_config("Ant-v5", "td3", num_envs=4, device="cpu"), {"run_dir": tmp_path})
    with pytest.raises(RunError, match="--run-dir"):
        run_dir.create(config)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_not_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    for content in (None, "{", "{}", '{"config": {"env": "Nope-v1", "task": {}}}', '{"config": {"env": "Ant-v5"}}'):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(RunError) as error:
            run_dir.load_config(tmp_path)
        assert "\n" not in str(error.value)


def test_every_start_is_noted(tmp_path: Path) -> None:
    config = merged(default_config("Ant-v5", "td3", num_envs=4, device="cpu"), {"task": Ant(), "run_dir": tmp_path})
    for steps in (10, 20, 30):
        run_dir.note(tmp_path, merged(config, {"total_steps": steps}), {})
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["config"]["total_steps"] == 30
    assert [start["config"]["total_steps"] for start in saved["earlier"]] == [10, 20]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with run_dir.locked(tmp_path), pytest.raises(RunError, match="no other process"), run_dir.locked(tmp_path):
        pass
    with run_dir.locked(tmp_path):
        pass
