"""A run's folder: what it was told (`config.json`) and where its files are."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from mjxrl.config import Config
from mjxrl.envs import env_class
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.errors import RunError, TaskError
from mjxrl.machine import versions
from mjxrl.storage import locks, trained_task
from mjxrl.storage.files import digest, plain, write_atomically

if TYPE_CHECKING:
    from mjxrl.envs.task import Task

CONFIG = "config.json"
TRAINED = "trained_task"  # beside the options


def create(config: Config) -> Path:
    """Make the run's folder: the one asked for, or a new one under `runs/`, whoever else makes one at the same time.

    Raises:
        RunError: the one asked for is not empty.
    """
    if config.run_dir is None:
        return _new_folder(Path("runs") / default_name(config))
    config.run_dir.mkdir(parents=True, exist_ok=True)
    if any(config.run_dir.iterdir()):
        raise RunError(f"--run-dir {config.run_dir}: allowed: a new or an empty folder")
    return config.run_dir


def note(path: Path, config: Config, resolved: dict[str, Any]) -> None:
    """Write `config.json`: every option, what `auto` became, versions, device, and the same of each earlier start."""
    file = path / CONFIG
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    history = [*earlier.pop("earlier", []), earlier] if earlier else []
    options = options_of(config)
    if not isinstance(config.task, GymnasiumEnv):
        options[TRAINED] = trained_task.description(config.task)
    about = {"resolved": resolved, "versions": versions.versions(), "earlier": history}
    content = {"config": options, "sha256": digest(options), **about}
    write_atomically(file, json.dumps(content, indent=2).encode() + b"\n")
    if not isinstance(config.task, GymnasiumEnv) and not (path / trained_task.MODEL).exists():
        trained_task.keep_model(path, config.task)


def options_of(config: Config) -> dict[str, Any]:
    """What a run was told, in terms of JSON; of a task the keywords that are not as its class has them."""
    task = getattr(config.task, "changed_keywords", config.task)  # worlds of a user's own may come without a task
    return plain(dataclasses.replace(config, task=None)) | {"task": plain(task)}


@contextmanager
def locked(path: Path) -> Iterator[list[str]]:
    """Hold the run's folder while the block runs; the system lets go of it however the process ends.

    Gives what the user should know about it: where the file system has no locks, nobody can tell two processes apart.

    Raises:
        RunError: another process holds it.
    """
    with (path / ".lock").open("w", encoding="utf-8") as file:
        try:
            taken = locks.take(file)
        except BlockingIOError:
            raise RunError(f"--run-dir {path}: allowed: a folder that no other process is training in") from None
        yield [] if taken else [f"{path} is on a file system without locks: a second process there is not refused"]


def default_name(config: Config) -> str:
    """`<env>-<algo>-s<seed>-<time>`, to the second."""
    env = config.env.rpartition(":")[2]
    return f"{env}-{config.algo}-s{config.seed}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def load_config(path: Path, xml_file: str | None = None, *, as_trained: bool = False) -> Config:
    """The configuration that the run at `path` was started with.

    Args:
        xml_file: where the task's MJCF is now; by default where it was or, if it is gone, the model that the run kept.
        as_trained: with the keywords and, unless `xml_file` is given, the model that the task had in training, whatever
            has become of its class and its MJCF since.

    Raises:
        RunError: there is no run, its config.json cannot be read, or its task cannot be made.
    """
    options, trained = _read(path)
    kind, keywords = _env_class(path, options["env"], trained), options.pop("task") or {}
    if as_trained and trained:
        keywords |= trained["keywords"]
    if xml_file is not None:
        keywords["xml_file"] = xml_file
    try:
        config = _built(Config, options)
    except TypeError as error:  # it names an option that there is no more
        raise RunError(f"{path / CONFIG}: {error}") from None
    try:
        task = _built(kind, keywords)
        if isinstance(task, GymnasiumEnv):
            pass  # it has no model of its own
        elif xml_file is None and trained_task.model_is_lost(task, trained if as_trained else None):
            task = trained_task.on_kept_model(path, task)
    except TaskError as error:
        raise RunError(f"{path / CONFIG}: {error}") from None
    return dataclasses.replace(config, task=task)


def holds(path: Path, config: Config) -> bool:
    """Whether the run in this folder was started with this very configuration."""
    try:
        return dataclasses.replace(load_config(path), resume=None) == config
    except RunError:
        return False


def task_changes(path: Path, task: Task | GymnasiumEnv) -> list[str]:
    """In what `task` differs from the one that the run at `path` trained, in words."""
    _, trained = _read(path)
    return trained_task.changes(path, trained, task) if trained and not isinstance(task, GymnasiumEnv) else []


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The options in a run's config.json, and what it says of the task that was trained (the first runs: nothing)."""
    file = path / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        options = content["config"]
        expected = content.get("sha256", digest(options))
        if digest(options) != expected:
            raise RunError(f"{file} was altered since the run wrote it")
        if not {"env", "task"} <= options.keys():
            raise KeyError
        _name_as_today(options)
        return options, options.pop(TRAINED, None)
    except FileNotFoundError:
        raise RunError(f"{path}: allowed: a run directory (it has no {CONFIG})") from None
    except RunError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{file} is not a run's configuration") from None


def _name_as_today(options: dict[str, Any]) -> None:
    """Give options the names that they have now, so that runs of before they were renamed go on."""
    physics, learner = options["physics"], options["learner"]
    if "preset" in physics:
        physics["accuracy"] = physics.pop("preset")
    if "layer_norm" in learner:
        learner["critic_norm"] = "layer" if learner.pop("layer_norm") else "none"


def _env_class(path: Path, env: str, trained: dict[str, Any] | None) -> type[Task] | type[GymnasiumEnv]:
    try:
        return env_class(env)
    except TaskError as error:
        folder = trained and ":" in env and trained["folder"]
        hint = f": allowed: with its folder on the path, as in PYTHONPATH={folder}, where it was" if folder else ""
        raise RunError(f"{path / CONFIG}: {error}{hint}") from None


def _new_folder(path: Path) -> Path:
    """Make the folder `path`, or the first of `path`-2, `path`-3, .. that nobody else has made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, nth = path, 1
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            nth += 1
            folder = path.with_name(f"{path.name}-{nth}")


def _built(kind: type, options: dict[str, Any]) -> Any:
    """The dataclass `kind` from what `_plain` made of it."""
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints.get(name), value) for name, value in options.items()})


def _typed(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _built(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if value is not None and "Path" in str(hint) else value
