"""A run's folder: what it was told (`config.json`) and where its files are."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from mjxrl.config import Config
from mjxrl.envs import task_class
from mjxrl.errors import RunError
from mjxrl.machine import versions
from mjxrl.storage import locks
from mjxrl.storage.files import digest, write_atomically

CONFIG = "config.json"


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
    earlier = json.loads(file.read_text()) if file.exists() else None
    history = [*earlier.pop("earlier", []), earlier] if earlier else []
    plain, about = _plain(config), {"resolved": resolved, "versions": versions.versions(), "earlier": history}
    write_atomically(file, json.dumps({"config": plain, "sha256": digest(plain), **about}, indent=2).encode() + b"\n")


@contextmanager
def locked(path: Path) -> Iterator[list[str]]:
    """Hold the run's folder while the block runs; the system lets go of it however the process ends.

    Gives what the user should know about it: where the file system has no locks, nobody can tell two processes apart.

    Raises:
        RunError: another process holds it.
    """
    with (path / ".lock").open("w") as file:
        try:
            taken = locks.take(file)
        except BlockingIOError:
            raise RunError(f"--run-dir {path}: allowed: a folder that no other process is training in") from None
        yield [] if taken else [f"{path} is on a file system without locks: a second process there is not refused"]


def default_name(config: Config) -> str:
    """`<env>-<algo>-s<seed>-<time>`, to the second."""
    env = config.env.rpartition(":")[2]
    return f"{env}-{config.algo}-s{config.seed}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def load_config(path: Path) -> Config:
    """The configuration that the run at `path` was started with.

    Raises:
        RunError: there is no run, or its config.json cannot be read.
    """
    file = path / CONFIG
    try:
        content = json.loads(file.read_text())
        options = content["config"]
        expected = content.get("sha256", digest(options))
    except FileNotFoundError:
        raise RunError(f"{path}: allowed: a run directory (it has no {CONFIG})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{file} is not a run's configuration") from None
    if digest(options) != expected:
        raise RunError(f"{file} was altered since the run wrote it")
    try:
        task = _built(task_class(options["env"]), options.pop("task") or {})
        return dataclasses.replace(_built(Config, options), task=task)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file}: {error}") from None


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


def _plain(value: Any) -> Any:
    """`value` in terms of JSON: dataclasses become objects, paths strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _built(kind: type, options: dict[str, Any]) -> Any:
    """The dataclass `kind` from what `_plain` made of it."""
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in options.items()})


def _typed(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _built(hint, value)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if value is not None and "Path" in str(hint) else value
