"""Locks, and folders that cannot be opened, on Windows: by stand-ins."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mjxrl.errors import RunError
from mjxrl.storage import files, locks, run_dir

HELD_THERE = errno.EACCES  # what Windows says of a locked range


class Msvcrt:
    """Windows' locks of a file's first bytes, by file."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}

    def locking(self, handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        file = os.fstat(handle).st_dev, os.fstat(handle).st_ino
        holder = self.held.get(file, handle)  # the number of a closed file may be this one's again
        if holder != handle and _is_open(holder):
            raise OSError(HELD_THERE, "Permission denied")
        self.held[file] = handle


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "a folder cannot be opened")

    there = SimpleNamespace(**{**vars(os), "name": "nt", "open": refuse})
    for module in (locks, files):
        monkeypatch.setattr(module, "os", there)
    monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it fails
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    monkeypatch.setattr(files.time, "sleep", lambda _: None)


@pytest.mark.usefixtures("windows")
def test_one_process_at_a_time_on_windows(tmp_path: Path) -> None:
    with run_dir.locked(tmp_path) as remarks:
        assert remarks == []
        with pytest.raises(RunError, match="no other process"), run_dir.locked(tmp_path):
            pass
    with run_dir.locked(tmp_path):
        pass


@pytest.mark.usefixtures("windows")
def test_files_are_replaced_where_a_folder_cannot_be_forced_to_the_disk(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        files.write_atomically(tmp_path / "file", content)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"two"]


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(("readers", "replaced"), [(3, True), (100, False)])
def test_a_file_that_somebody_has_open_is_replaced_a_little_later(tmp_path: Path, readers: int, replaced: bool) -> None:
    left = [PermissionError(errno.EACCES, "used by another process")] * readers

    def while_it_is_read(aside: Path, path: Path) -> None:
        if left:
            raise left.pop()
        os.replace(aside, path)

    files.os.replace = while_it_is_read  # the stand-in's
    with nullcontext() if replaced else pytest.raises(PermissionError, match="another process"):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").exists() == replaced
