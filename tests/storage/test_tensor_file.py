"""Files written piece by piece are safetensors files like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from mjxrl.storage import tensor_file
from mjxrl.storage.tensor_file import Stream

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
PLAIN = {str(dtype): (torch.arange(15).reshape(5, 3) % 7).to(dtype) for dtype in DTYPES} | {
    "number": torch.tensor(3),
    "nothing": torch.empty(0, 4, 2),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def test_other_readers_read_it_and_it_reads_other_writers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = torch.arange(7 * 5, dtype=torch.float32).reshape(7, 5)
    stream = Stream((7, 5), torch.float32, (whole[i : i + 3] for i in range(0, 7, 3)))
    sha256 = tensor_file.write(path, PLAIN | {"stream": stream})
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    expected = PLAIN | {"stream": whole}
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == expected.keys()
        for name, tensor in expected.items():
            found = file.get_tensor(name)
            assert found.dtype == tensor.dtype and torch.equal(found, tensor), name
    assert all(torch.equal(found, expected[name]) for name, found in tensor_file.read(path, sha256).items())
    theirs = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in expected.items()}, theirs)
    found = tensor_file.read(theirs, hashlib.sha256(theirs.read_bytes()).hexdigest())
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_every_tensor_begins_at_a_multiple_of_its_elements_size(tmp_path: Path) -> None:
    """Others would not be read through a map."""
    path = tmp_path / "x.safetensors"
    tensor_file.write(path, {"a": torch.zeros(3, dtype=torch.uint8), **PLAIN, "z": torch.zeros(5, dtype=torch.int16)})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + length]).items():
        size = 1 if entry["dtype"] == "BOOL" else int(entry["dtype"].lstrip("BFIU")) // 8
        assert (8 + length + entry["data_offsets"][0]) % size == 0, name


def test_a_file_with_another_hash_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    sha256 = tensor_file.write(path, PLAIN)
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(safetensors.torch, "load_file", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match="hash"):
        tensor_file.read(path, sha256)
