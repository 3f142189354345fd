"""The processes of one run: each has worlds, a replay and a copy of the learner of its own. What they sum and agree on.

torchrun starts them. In a run of one process, `ALONE`, no method does anything and there is no process group. This is
the only file that knows torch.distributed.

Every method is collective: all ranks call it, in the same order, on the same thread. So none may be called under a
condition that ranks could see differently (a signal, a clock, a file, a NaN in one rank's worlds); such a thing is put
to `any` or `gathered` first. The one for other threads is `exchange`.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from mjxrl import errors
from mjxrl.errors import PeerError, Refusal
from mjxrl.machine import torchrun
from mjxrl.machine.torchrun import Place

TIMEOUT = datetime.timedelta(minutes=30)  # the longest that one rank keeps the others waiting: it evaluates or compiles
ONE = Place()
_POLL = 0.02  # seconds between two looks at the store


class Ranks:
    """This process among those of its run."""

    def __init__(self, place: Place = ONE, store: Any = None) -> None:
        self.rank, self.size, self.local_rank = place.rank, place.size, place.local_rank
        self._store = store
        self._device_group: Any = None  # by default that of the hosts
        self._vote: tuple[dist.Work, Tensor] | None = None
        self._exchanges = 0
        self._left = threading.Event()

    @property
    def leads(self) -> bool:
        """Whether this rank writes what the run leaves, and speaks."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed of this rank's own; the first one has the run's."""
        if self.leads:
            return seed
        import numpy as np

        # not seed + rank: evaluations begin with seed + 1, and the next seed's run would share all but one
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0] >> 1)

    def own(self, name: str) -> str:
        """A file name of this rank's own; the first one's is `name`."""
        path = PurePath(name)
        return name if self.leads else f"{path.stem}.{self.rank}{path.suffix}"

    def connect(self, device: str) -> None:
        """Make sums of tensors on `device`, "cpu" or "cuda", possible: by NCCL between GPUs."""
        if self.size > 1 and device == "cuda":
            self._device_group = dist.new_group(backend="nccl", timeout=TIMEOUT, device_id=torch.device("cuda", 0))

    # of tensors on the device: nothing waits for the host

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place; the same bits on all of them."""
        if self.size > 1:
            self._reduce(tensor, dist.ReduceOp.SUM, self._device_group)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """Maximum over ranks, in place."""
        if self.size > 1:
            self._reduce(tensor, dist.ReduceOp.MAX, self._device_group)
        return tensor

    def mean_gradients(self, gradients: dict[str, Tensor], invalid: Tensor) -> dict[str, Tensor]:
        """Gradients of mean losses over all ranks' batches, from those over each one's valid transitions.

        One bucket, one sum, however many there are. A plain mean of means would be wrong where some are not valid.

        Args:
            gradients: (P,) each, by any names.
            invalid: (B,) bool, the transitions of this rank's batch that do not count.
        """
        if self.size == 1:
            return gradients
        count = (~invalid).sum()
        bucket = self.sum(torch.cat([*gradients.values(), torch.ones_like(count).view(1)]) * count)
        mean = bucket[:-1] / bucket[-1].clamp(min=1)
        parts = mean.split([gradient.numel() for gradient in gradients.values()])
        return dict(zip(gradients, parts, strict=True))

    # between the hosts

    def any(self, yes: bool) -> bool:
        """Whether it is so on any rank."""
        return yes if self.size == 1 else any(self.gathered(yes))

    def any_soon(self, yes: bool) -> bool:
        """Whether it was so on any rank at the call before this one: waits for nobody who is less than a call behind.

        Of one process, whether it is so now.
        """
        if self.size == 1:
            return yes
        before, vote = self._vote, torch.tensor(int(yes))
        self._vote = self._reduce(vote, dist.ReduceOp.MAX, None, later=True), vote
        return before is not None and bool(_waited_for(before))

    def last_vote(self) -> None:
        """The loop that asked `any_soon` is over: the first call of the next one knows nothing of it."""
        if self._vote is not None:
            _waited_for(self._vote)
            self._vote = None

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, in terms of JSON, in the order of ranks, on all of them."""
        if self.size == 1:
            return [value]
        said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _peers():
            dist.all_gather(lengths, torch.tensor([len(said)]))
            longest = int(torch.stack(lengths).max())
            texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(texts, torch.nn.functional.pad(said, (0, longest - len(said))))
        return [json.loads(bytes(text[:length].tolist())) for text, length in zip(texts, lengths, strict=True)]

    def from_first(self, value: Any) -> Any:
        """The first rank's value, in terms of JSON, on all of them."""
        return self.gathered(value if self.leads else None)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What one rank is refused in the block, which must not be collective, is refused to all.

        Raises:
            Refusal: one of them was.
        """
        own: Refusal | None = None
        try:
            yield
        except Refusal as error:
            own = error
        said = self.gathered(None if own is None else [type(own).__name__, str(own)])
        if own is not None:
            raise own
        for kind, text in (each for each in said if each is not None):
            raise getattr(errors, kind)(text)

    @contextmanager
    def first_here_first(self) -> Iterator[None]:
        """The first process of each machine runs the block before the others, which find what it left in caches."""
        if self.local_rank > 0:
            self.gathered(None)
        try:
            yield
        finally:
            if self.local_rank == 0:
                self.gathered(None)

    def exchange(self, value: Any) -> list[Any]:
        """As `gathered`, on a thread that has nothing to do with the others' order: one thread of each rank.

        Raises:
            PeerError: the run is over, or somebody did not come.
        """
        if self._store is None:
            return [value]
        self._exchanges += 1
        names = [f"exchange/{self._exchanges}/{rank}" for rank in range(self.size)]
        with _peers():
            self._store.set(names[self.rank], json.dumps(value))
            for _ in range(int(TIMEOUT.total_seconds() / _POLL)):
                if self._store.check(names):
                    return [json.loads(self._store.get(name)) for name in names]
                if self._left.wait(_POLL):
                    break
        raise PeerError("another process of this run has ended: it left no word")

    def leave(self) -> None:
        """Part from the others; whoever still holds a group would abort at the interpreter's end."""
        self._left.set()
        self._vote = self._device_group = self._store = None
        dist.destroy_process_group()

    def _reduce(self, tensor: Tensor, how: Any, group: Any, later: bool = False) -> Any:
        with _peers():
            return dist.all_reduce(tensor, how, group=group, async_op=later)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks, from when all have come until all are done with the block, or one of them fails."""
    here = torchrun.place()
    if here.size == 1:
        yield ALONE
        return
    store, _, _ = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    # torchrun's own store outlives a restart, and so would the addresses of those who are gone
    store = dist.PrefixStore(f"mjxrl/{here.restarts}", store)  # type: ignore[attr-defined]
    with _peers():
        dist.init_process_group("gloo", store=store, rank=here.rank, world_size=here.size, timeout=TIMEOUT)
    ranks = Ranks(here, store)
    try:
        yield ranks
        ranks.gathered(None)
    finally:
        ranks.leave()


def differing(ranks: Ranks, state: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that are not the same on all ranks, to the bit."""
    if ranks.size == 1 or not state:
        return []
    device = next(iter(state.values())).device
    marks = torch.stack([fingerprint(tensor).to(device) for tensor in state.values()])
    most, least = ranks.largest(torch.stack([marks, ~marks]))
    return [name for name, differs in zip(state, (most != ~least).tolist(), strict=True) if differs]


def fingerprint(tensor: Tensor) -> Tensor:
    """A number, 0-d int64, that changes with any bit and with the order; does not wait for the device."""
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().reshape(-1).view(kind).long()
    odd = torch.arange(bits.numel(), device=bits.device).mul_(2).add_(1)
    return (bits * (odd * 0x9E3779B1)).sum()


def _waited_for(vote: tuple[dist.Work, Tensor]) -> Tensor:
    work, result = vote
    with _peers():
        work.wait()
    return result


@contextmanager
def _peers() -> Iterator[None]:
    """Tell of a process that has ended, which gloo and the store notice, in one line.

    Raises:
        PeerError: one has.
    """
    try:
        yield
    except RuntimeError as error:  # gloo's has no type of its own
        if isinstance(error, PeerError):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0]
        raise PeerError(f"another process of this run has ended: {reason}") from error
