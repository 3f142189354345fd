"""Checkpoints: folders of safetensors and a JSON manifest with their hashes, whole or absent, never unpickled.

    checkpoints/step_<n>/      learner, worlds, counters, and (only in the newest) the replay
    checkpoints/best_<n>/      the learner alone, at its best evaluation
    checkpoints/latest, best   links to the newest of each

A folder is written under another name, forced to the disk and renamed, and a link is replaced in one go, so that
whatever interrupts a writer leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from mjxrl.errors import CheckpointError
from mjxrl.storage.files import digest, sync_folder, write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
REPLAY = "replay"  # the one file that a checkpoint may go without

Tensors = Mapping[str, Mapping[str, Tensor]]  # file name to its tensors


def save(run_dir: Path, step: int, tensors: Tensors, info: Mapping[str, Any], kind: str = "step") -> Path:
    """Write `checkpoints/<kind>_<step>` and point the kind's link (`latest` or `best`) at it.

    Args:
        step: transitions collected so far.
        tensors: for each file to write, in this order, its tensors by name, on any device.
        info: what else to note in the manifest (task, algorithm, …), in terms of JSON.
        kind: "step" or "best".

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    folder = run_dir / "checkpoints"
    link, fresh = folder / {"step": "latest", "best": "best"}[kind], folder / f".{kind}.link"
    name = f"{kind}_{step}"
    if kind == "best" and os.path.basename(os.path.realpath(link)) == name:
        name += "_again"  # a resumed run comes by its best once more: what the link leads to stays whole meanwhile
    final, aside = folder / name, folder / f".{name}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        hashes = {}
        for file, content in tensors.items():
            host = {key: value.detach().cpu().contiguous() for key, value in content.items()}
            data = safetensors.torch.save(host)
            write_atomically(aside / f"{file}.safetensors", data)
            hashes[file] = hashlib.sha256(data).hexdigest()
        manifest = {"format": FORMAT, "step": step, **info, "sha256": hashes}
        manifest["manifest_sha256"] = digest(manifest)
        write_atomically(aside / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(final.name)
    os.replace(fresh, link)
    sync_folder(folder)
    return final


def prune(run_dir: Path, newest: int, keep: int) -> None:
    """Remove all but the `keep` checkpoints up to that of step `newest`, just written, and every replay but its own.

    Later steps go too: a run that makes a checkpoint before them was resumed from an earlier one, as they were damaged.
    """
    saved = steps_saved(run_dir)
    older = [step for step in saved if step < newest]
    for step in older[: keep - 1]:
        (path_of(run_dir, step) / f"{REPLAY}.safetensors").unlink(missing_ok=True)
    for step in [*older[keep - 1 :], *(step for step in saved if step > newest)]:
        shutil.rmtree(path_of(run_dir, step), ignore_errors=True)


def prune_best(run_dir: Path) -> None:
    """Remove all but the newest best."""
    for path in (run_dir / "checkpoints").glob("best_*"):
        if path.name != (run_dir / "checkpoints" / "best").resolve().name:
            shutil.rmtree(path, ignore_errors=True)


def steps_saved(run_dir: Path) -> list[int]:
    """Steps of the checkpoints of a run, newest first."""
    names = (path.name.removeprefix("step_") for path in (run_dir / "checkpoints").glob("step_*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def path_of(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"step_{step}"


def newest_whole(run_dir: Path, expect: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Names of the run's checkpoints from the newest on, each with what is wrong with it, up to the first whole one."""
    for step in steps_saved(run_dir):
        name = f"step_{step}"
        try:
            manifest = read_manifest(run_dir, name, expect)
            for file in manifest["sha256"]:
                if file != REPLAY or (run_dir / "checkpoints" / name / f"{REPLAY}.safetensors").exists():
                    _read(run_dir / "checkpoints" / name, file, manifest)
        except CheckpointError as error:
            yield name, str(error)
        else:
            yield name, None
            return


def read_manifest(run_dir: Path, which: str, expect: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of the checkpoint `which` ("latest", "best", or "step_<n>").

    Args:
        expect: entries that it must have, such as the task's id.

    Raises:
        CheckpointError: it is missing, damaged, of an unknown format or of another task.
    """
    path = run_dir / "checkpoints" / which
    if not path.is_dir():
        present = ", ".join(f"step_{step}" for step in steps_saved(run_dir)) or "none, nothing was saved there"
        raise CheckpointError(f"{run_dir} has no checkpoint {which!r}: allowed: {present}")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        format_, expected = manifest["format"], manifest.pop("manifest_sha256", None)
        if not isinstance(manifest["sha256"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} is missing or unreadable") from None
    if format_ != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {format_!r}: allowed: {FORMAT}")
    if expected not in (None, digest(manifest)):  # the first runs noted none
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} was altered")
    for name, value in expect.items():
        if manifest.get(name) != value:
            raise CheckpointError(f"checkpoint {path} has {name} {manifest.get(name)!r}: allowed: {value!r}")
    return manifest


def load(run_dir: Path, which: str, file: str, expect: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one file of the checkpoint `which`, checked against its hash before they are parsed.

    Raises:
        CheckpointError: as `read_manifest`, or the file is missing, truncated or altered.
    """
    manifest = read_manifest(run_dir, which, expect)
    return safetensors.torch.load(_read(run_dir / "checkpoints" / which, file, manifest))


def has_replay(run_dir: Path, which: str) -> bool:
    """Whether a checkpoint still holds the replay."""
    return (run_dir / "checkpoints" / which / f"{REPLAY}.safetensors").is_file()


def _read(path: Path, file: str, manifest: Mapping[str, Any]) -> bytes:
    try:
        data = (path / f"{file}.safetensors").read_bytes()
    except OSError:
        raise CheckpointError(f"checkpoint {path} is damaged: {file}.safetensors is missing") from None
    if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(file):
        raise CheckpointError(f"checkpoint {path} is damaged: {file}.safetensors is truncated or was altered")
    return data
