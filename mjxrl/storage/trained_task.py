"""What a run keeps of its task, and what of the task has changed since.

The compiled model is kept (`model.mjb`): one file, whatever the MJCF includes and wherever its assets are, and to the
bit what was simulated, which MJCF written anew is not. Only the MuJoCo version that wrote it reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mjxrl.errors import TaskError
from mjxrl.machine.versions import installed
from mjxrl.storage.files import plain, write_atomically

if TYPE_CHECKING:
    import mujoco

    from mjxrl.envs.task import Task

MODEL = "model.mjb"


def description(task: Task) -> dict[str, Any]:
    """What tells whether a task is still the same, in terms of JSON: keywords, model, MuJoCo's version, where it is."""
    return {
        "keywords": _keywords(task),
        "model": model_hash(task.model),
        "mujoco": installed("mujoco"),
        "folder": _import_folder(type(task)),
    }


def keep_model(run_dir: Path, task: Task) -> None:
    """Write the compiled model into the run's folder."""
    import mujoco  # help and refusals do without

    data = np.zeros(mujoco.mj_sizeModel(task.model), np.uint8)
    mujoco.mj_saveModel(task.model, None, data)
    write_atomically(run_dir / MODEL, data.tobytes())


def changes(run_dir: Path, trained: Mapping[str, Any], task: Task) -> list[str]:
    """In what `task` differs from its `description` when it was trained, in words, each with what it was."""
    now, then = _keywords(task), trained["keywords"]
    found = [
        f"keyword {name} is {now.get(name)!r}, was {was!r}"
        for name, was in then.items()
        if json.dumps(now.get(name)) != json.dumps(was)
    ]
    if _other_model(trained, task):
        found.append(f"the model compiles to other {_differences(run_dir / MODEL, task.model)}")
    return found


def model_is_lost(task: Task, trained: Mapping[str, Any] | None) -> bool:
    """Whether the task's MJCF is gone or, given `trained`, compiles to another model than then."""
    try:
        _ = task.xml_file and task.xml_path
        return trained is not None and _other_model(trained, task)
    except TaskError:
        return True


def on_kept_model(run_dir: Path, task: Task) -> Task:
    """The task on the model in the run's folder.

    Raises:
        TaskError: there is none.
    """
    if not (run_dir / MODEL).is_file():
        raise TaskError(
            f"{task.xml_file} is gone, and the run kept no model: allowed: --task.xml-file, where it is now"
        )
    return dataclasses.replace(task, xml_file=str((run_dir / MODEL).absolute()))


def model_hash(model: mujoco.MjModel) -> str:
    """SHA-256 of everything that a model simulates, the same on all machines; file names do not count."""
    digest = hashlib.sha256()
    for name, content in _contents(model).items():
        digest.update(name.encode() + content)
    return digest.hexdigest()


def _contents(model: mujoco.MjModel) -> dict[str, bytes]:
    found = {}
    for prefix, part in (("", model), ("opt.", model.opt)):
        for name in dir(part):
            value = getattr(part, name)
            if name.startswith("_") or "path" in name or name in ("nbuffer", "signature"):  # of the file, not the model
                continue
            if isinstance(value, bytes):
                found[prefix + name] = value
            elif isinstance(value, (np.ndarray, int, float)):
                array = np.asarray(value)
                # other processors round a compiled double's last bit otherwise
                array = array.astype(np.float32) if array.dtype.kind == "f" else array
                found[prefix + name] = f"{array.dtype}{array.shape}".encode() + array.tobytes()
    return found


def _other_model(trained: Mapping[str, Any], task: Task) -> bool:
    """Whether the task's model is another one; another version of MuJoCo has other fields, and nobody can tell."""
    return trained["mujoco"] == installed("mujoco") and trained["model"] != model_hash(task.model)


def _differences(kept: Path, model: mujoco.MjModel) -> str:
    """The names of the fields in which a model differs from the kept one, the first few."""
    try:
        then = _contents(type(model).from_binary_path(str(kept)))
    except ValueError:
        return "numbers"
    names = [name for name, content in _contents(model).items() if then.get(name) != content]
    names.sort(key=lambda name: name.endswith("0"))  # most of those follow from others
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _keywords(task: Task) -> dict[str, Any]:
    """Every keyword that names no place: projects move, and what counts of the MJCF is the model."""
    values = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return {name: plain(value) for name, value in values.items() if not (name == "xml_file" or _is_place(value))}


def _is_place(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value))


def _import_folder(kind: type) -> str | None:
    """The folder that must be on the path to import a task's module."""
    file = getattr(sys.modules[kind.__module__], "__file__", None)
    if file is None:
        return None
    path = Path(file).absolute()
    path = path.parent if path.name == "__init__.py" else path
    return str(path.parents[kind.__module__.count(".")])
