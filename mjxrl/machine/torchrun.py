"""What torchrun, or whoever starts several processes of one run, told this one by its environment; imports nothing."""

from __future__ import annotations

import os
from typing import NamedTuple

_SAID = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"  # all are needed to meet


class Place(NamedTuple):
    """Which of a run's processes this is."""

    rank: int = 0
    size: int = 1
    """Processes in all."""
    local_rank: int = 0
    local_size: int = 1
    """Processes on this machine."""
    restarts: int = 0
    """How often all of them were started over, after one failed."""
    restarts_allowed: int = 0

    @property
    def speaks(self) -> bool:
        """Whether this is the process of its machine that tells people what all of them would."""
        return self.local_rank == 0


def place() -> Place:
    """A run's only process, unless somebody says otherwise."""
    if not all(name in os.environ for name in _SAID):
        return Place()
    return Place(
        rank=_number("RANK", 0),
        size=_number("WORLD_SIZE", 1),
        local_rank=_number("LOCAL_RANK", 0),
        local_size=_number("LOCAL_WORLD_SIZE", 1),
        restarts=_number("TORCHELASTIC_RESTART_COUNT", 0),
        restarts_allowed=_number("TORCHELASTIC_MAX_RESTARTS", 0),
    )


def on_one_machine(size: int, port: int) -> list[dict[str, str]]:
    """What each of a run's processes is told where all are on this machine and meet at that port of it."""
    common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    each = [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in range(size)]
    return [{name: str(value) for name, value in told.items()} for told in each]


def take_own_gpu() -> None:
    """Leave this process the one GPU that is its own, as device 0; call it before anything looks for one.

    Where a list says which GPUs there are, numbers or UUIDs, the process takes its place in it. A list of one stays: it
    is the process's own already, as with Slurm's `--gpus-per-task 1`.
    """
    here, listed = place(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if here.local_size == 1:
        return
    if listed is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(here.local_rank)
        return
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    if len(entries) > 1:  # two that take the same one are found out when they meet
        os.environ["CUDA_VISIBLE_DEVICES"] = entries[here.local_rank % len(entries)]


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)
