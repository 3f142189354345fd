"""A ring as it is at one moment, for a thread that writes it down while the ring goes on.

Nothing is copied beforehand. The ring's owner calls `keep` before it overwrites a row, which copies that row unless the
reader has passed it; the reader copies a few rows of the live ring and puts the kept ones in their places. That is the
ring of that moment: a row that changed before the reader had it was kept before it changed, hence is found; a row that
was kept and did not change yet is the same twice. The reader starts with the oldest rows, which are overwritten first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mjxrl.storage.tensor_file import Stream

CHUNK = 2**22  # bytes copied and written at once
KEPT = 0.05  # of the ring's bytes are kept at most: where more would be, `keep` waits for the reader


class Snapshot:
    """What there is of a ring now.

    Args:
        rings: tensors of the same number T of rows, (T, ...), on one device.
        first: the row of the oldest entry.
        counts: for each of `rings`, how many rows there are from that one on, at most T.
        others: small tensors, copied now.

    Attributes:
        tensors: all of it by name, a ring in the order of age; what is still read is read once.
        nbytes: bytes of them.
    """

    def __init__(
        self, rings: Mapping[str, Tensor], first: int, counts: Mapping[str, int], others: Mapping[str, Tensor]
    ) -> None:
        self._rings, self._first, self._counts = dict(rings), first, dict(counts)
        self._read = dict.fromkeys(rings, 0)  # rows of each that the reader has passed
        self._kept: dict[tuple[str, int], tuple[Tensor, torch.cuda.Event | None]] = {}
        self._changed = threading.Condition()
        self._stream: torch.cuda.Stream | None = None
        device = next(iter(rings.values())).device
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # the reader's own, which waits for what the ring is made of now
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self.tensors: dict[str, Tensor | Stream] = {
            name: Stream((counts[name], *ring.shape[1:]), ring.dtype, self._pieces(name))
            for name, ring in rings.items()
        }
        self.tensors |= {name: tensor.to("cpu", copy=True) for name, tensor in others.items()}
        self.nbytes = sum(tensor.nbytes for tensor in self.tensors.values())
        self._room = KEPT * self.nbytes

    @property
    def closed(self) -> bool:
        return self._read == self._counts

    def keep(self, row: int) -> None:
        """Called before row `row` of any of the rings is overwritten; waits only where the reader is too slow."""
        nth = (row - self._first) % len(next(iter(self._rings.values())))
        with self._changed:
            for name, ring in self._rings.items():
                if self._read[name] <= nth < self._counts[name] and (name, nth) not in self._kept:
                    kept = ring[row].clone()
                    self._kept[name, nth] = kept, None if self._stream is None else _now(kept.device)
                    self._room -= kept.nbytes
            self._changed.wait_for(lambda: self._room >= 0 or self.closed)

    def close(self) -> None:
        """Nothing more is read."""
        with self._changed:
            self._read = dict(self._counts)
            self._kept.clear()
            self._changed.notify_all()

    def _pieces(self, name: str) -> Iterator[Tensor]:
        ring, count = self._rings[name], self._counts[name]
        step = max(1, CHUNK // max(1, ring[0].nbytes))
        host = torch.empty((min(step, count), *ring.shape[1:]), dtype=ring.dtype, pin_memory=ring.is_cuda)
        for start in range(0, count, step):
            piece = host[: min(step, count - start)]
            row = (self._first + start) % len(ring)
            ahead = min(len(piece), len(ring) - row)  # before the ring begins anew
            with self._reading():
                piece[:ahead].copy_(ring[row : row + ahead], non_blocking=True)
                piece[ahead:].copy_(ring[: len(piece) - ahead], non_blocking=True)
            for nth, kept in self._passed(name, start, start + len(piece)).items():
                with self._reading(after=kept[1]):
                    piece[nth - start].copy_(kept[0], non_blocking=True)
            yield piece

    def _passed(self, name: str, start: int, stop: int) -> dict[int, tuple[Tensor, torch.cuda.Event | None]]:
        """Note that the live rows up to `stop` have been read; gives the kept ones of them by number."""
        with self._changed:
            kept = {nth: self._kept.pop((name, nth)) for nth in range(start, stop) if (name, nth) in self._kept}
            self._read[name] = stop
            self._room += sum(row.nbytes for row, _ in kept.values())
            self._changed.notify_all()
        return kept

    @contextmanager
    def _reading(self, after: torch.cuda.Event | None = None) -> Iterator[None]:
        """On a GPU copies of the block run beside the trainer's work, and have ended when it ends."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            if after is not None:
                self._stream.wait_event(after)
            yield
        self._stream.synchronize()


def _now(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
