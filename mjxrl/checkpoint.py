"""Checkpoints: folders of safetensors and a JSON manifest with their hashes, whole or absent, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from mjxrl.files import sync_folder, write_atomically
from mjxrl.run_dir import RunError

FORMAT = 1
MANIFEST = "manifest.json"


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or does not fit; the message is one line."""


def save(run_dir: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], info: Mapping[str, Any]) -> Path:
    """Write `checkpoints/step_<step>` aside, rename it and point `checkpoints/latest` at it.

    Args:
        step: transitions collected so far.
        tensors: for each file to write, its tensors by name; copied to the host first.
        info: what else to note in the manifest (task, algorithm, …), in terms of JSON.
    """
    folder = run_dir / "checkpoints"
    final = folder / f"step_{step}"
    aside = folder / f".step_{step}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    hashes = {}
    for name, content in tensors.items():
        host = {key: value.detach().cpu().contiguous() for key, value in content.items()}
        data = safetensors.torch.save(host)
        write_atomically(aside / f"{name}.safetensors", data)
        hashes[f"{name}.safetensors"] = hashlib.sha256(data).hexdigest()
    manifest = {"format": FORMAT, "step": step, **info, "sha256": hashes}
    write_atomically(aside / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(aside, final)
    link = folder / ".latest.tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    os.replace(link, folder / "latest")
    sync_folder(folder)
    return final


def load(run_dir: Path, which: str, file: str, expect: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one file of the checkpoint `which` ("latest" or "step_<n>"), checked against its hash.

    Args:
        expect: entries that the manifest must have, such as the task's id.

    Raises:
        CheckpointError: it is missing, truncated, altered, of an unknown format or of another task.
    """
    path = run_dir / "checkpoints" / which
    if not path.is_dir():
        raise CheckpointError(f"{run_dir} has no checkpoint {which!r}: allowed: {_present(run_dir)}")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        digest = manifest["sha256"][f"{file}.safetensors"]
        data = (path / f"{file}.safetensors").read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"checkpoint {path} is damaged: its manifest or {file}.safetensors is missing") from None
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {manifest.get('format')!r}: allowed: {FORMAT}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"checkpoint {path} is damaged: {file}.safetensors is truncated or was altered")
    for name, value in expect.items():
        if manifest.get(name) != value:
            raise CheckpointError(f"checkpoint {path} has {name} {manifest.get(name)!r}: allowed: {value!r}")
    return safetensors.torch.load(data)


def _present(run_dir: Path) -> str:
    names = sorted(p.name for p in (run_dir / "checkpoints").glob("step_*"))
    return ", ".join(names) or "none, nothing was saved there"
