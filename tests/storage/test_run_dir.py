"""config.json holds the whole configuration and gives it back."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mjxrl.config.presets import default_config, merged
from mjxrl.envs.ant import Ant
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.envs.task import Task
from mjxrl.errors import RunError
from mjxrl.storage import run_dir
from mjxrl.storage.files import digest, write_atomically


@pytest.mark.parametrize("task", [Ant(ctrl_cost_weight=0.25), HalfCheetah(ctrl_cost_weight=0.25)])
def test_round_trip(task: Task, tmp_path: Path) -> None:
    changes = {"task": task, "run_dir": tmp_path / "run", "learner": {"actor_hidden": (8, 9)}, "max_minutes": 2.5}
    config = merged(default_config(str(task.gymnasium_id), "td3", num_envs=4, device="cpu"), changes)
    path = run_dir.create(config)
    run_dir.note(path, config, {"device": "cpu"})
    assert run_dir.load_config(path) == config
    saved = json.loads((path / "config.json").read_text())
    assert saved["resolved"] == {"device": "cpu"} and saved["versions"]["torch"]


@pytest.mark.parametrize(("layer_norm", "critic_norm"), [(True, "layer"), (False, "none")])
def test_a_run_from_before_its_options_had_these_names(tmp_path: Path, layer_norm: bool, critic_norm: str) -> None:
    changes = {"task": Ant(), "run_dir": tmp_path / "run", "physics": {"accuracy": "fast"}}
    config = merged(default_config("Ant-v5", "td3", num_envs=4, device="cpu"), changes)
    config = merged(config, {"learner": {"critic_norm": critic_norm}})
    run_dir.note(run_dir.create(config), config, {})
    file = tmp_path / "run" / "config.json"
    content = json.loads(file.read_text())
    content["config"]["physics"]["preset"] = content["config"]["physics"].pop("accuracy")
    del content["config"]["learner"]["critic_norm"]
    content["config"]["learner"]["layer_norm"] = layer_norm
    file.write_text(json.dumps({**content, "sha256": digest(content["config"])}))
    assert run_dir.load_config(tmp_path / "run") == config


def test_a_keyword_or_an_option_that_there_is_no_more_is_named(tmp_path: Path) -> None:
    config = merged(default_config("Ant-v5", "td3", num_envs=4, device="cpu"), {"task": Ant(), "run_dir": tmp_path})
    run_dir.note(run_dir.create(config), config, {})
    file = tmp_path / "config.json"
    content = json.loads(file.read_text())
    for options, named in ({"task": {"legs": 5}}, "Ant has no keyword legs"), ({"colour": "red"}, "colour"):
        options = content["config"] | options
        file.write_text(json.dumps({**content, "config": options, "sha256": digest(options)}))
        with pytest.raises(RunError, match=named):
            run_dir.load_config(tmp_path)


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


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_no_other_process(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS without its lock daemon, and Lustre mounted without flock."""

    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with run_dir.locked(tmp_path) as remarks:
        assert len(remarks) == 1 and "without locks" in remarks[0]


def test_runs_started_in_one_second_get_a_folder_each_and_say_their_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_dir, "datetime", StoppedClock)
    config = merged(default_config("Ant-v5", "td3", num_envs=4, device="cpu"), {"seed": 7})
    start = threading.Barrier(8)

    def create(_: int) -> str:
        start.wait()
        return run_dir.create(config).name

    with ThreadPoolExecutor(8) as threads:
        names = set(threads.map(create, range(8)))
    first = "Ant-v5-td3-s7-20260102-030405"
    assert names == {first, *(f"{first}-{nth}" for nth in range(2, 9))}


class StoppedClock:
    class datetime:  # noqa: N801
        @staticmethod
        def now() -> Any:
            return datetime.datetime(2026, 1, 2, 3, 4, 5)


def test_a_folder_whose_names_cannot_be_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SMB: only the folder's own fsync fails. Windows: a folder cannot even be opened."""
    sync = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", only_files)
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
