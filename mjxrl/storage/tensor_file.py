"""safetensors files of any size in little memory: written piece by piece with the hash beside, read through a map.

The format is a length, a JSON header and the tensors' bytes (github.com/huggingface/safetensors). Its own writer wants
the whole file as one object and holds the interpreter meanwhile; here every piece is hashed and written without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Stream:
    """A tensor that comes in pieces, along its first dimension."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: Iterable[Tensor]
    """On the CPU; each may take the place of the one before it."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write(path: Path, tensors: Mapping[str, Tensor | Stream]) -> str:
    """Write a file of tensors that are on the CPU, force it to the disk and return its SHA-256.

    Raises:
        OSError: it cannot be written; part of it may be there.
    """
    # by size of elements, so that each is aligned; then small ones first: a ring's rows are not long waited for
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[1].nbytes))
    header, end = {}, 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for part in _parts(len(text).to_bytes(8, "little") + text, (tensor for _, tensor in ordered)):
            sha256.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return sha256.hexdigest()


def read(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file, mapped to memory: what is not looked at is not loaded.

    Raises:
        OSError: it cannot be read.
        ValueError: it has another hash; nothing of it was parsed.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has another hash")
    return safetensors.torch.load_file(path)


def _parts(head: bytes, tensors: Iterable[Tensor | Stream]) -> Iterator[bytes | memoryview]:
    yield head
    for tensor in tensors:
        for piece in [tensor] if isinstance(tensor, Tensor) else tensor.pieces:
            yield piece.contiguous().reshape(-1).view(torch.uint8).numpy().data
