"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mjxrl.errors import SavingError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` aside, force it to the disk and rename it to `path`."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    replace(aside, path)
    sync_folder(path.parent)


def replace(aside: Path, path: Path) -> None:
    """Rename a file or a folder. On Windows what somebody has open cannot be replaced, be it `mjxrl plot` or a virus
    scanner, so it is tried for two and a half seconds there.

    Raises:
        OSError: it cannot be renamed.
    """
    for pause_s in [0.01 * 2**nth for nth in range(8)] if os.name == "nt" else []:
        try:
            return os.replace(aside, path)
        except PermissionError:
            time.sleep(pause_s)
    return os.replace(aside, path)


@contextmanager
def saving() -> Iterator[None]:
    """Tell the system's refusals to write from a user's own OSErrors.

    Raises:
        SavingError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise SavingError(str(error)) from error


def plain(value: Any) -> Any:
    """`value` in terms of JSON: dataclasses become objects, tuples lists, paths strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def digest(content: Any) -> str:
    """SHA-256 of something made of JSON's types, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk, where one can: a rename survives a power cut only after that."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # SMB and some of FUSE's file systems know no such thing
            raise
    finally:
        os.close(handle)
