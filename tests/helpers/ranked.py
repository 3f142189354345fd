"""The processes of one run, forked here and told who they are as torchrun does it, over gloo on this machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mjxrl.machine.ranks import Ranks, joined
from mjxrl.machine.torchrun import on_one_machine
from tests.helpers.forked_runs import Ended, Process


def started(log: Path, work: Callable[[], int], size: int = 2, **env: str) -> list[Process]:
    """Forked processes that run `work` as the ranks of one run; rank r prints into `<log>.<r>`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        places = on_one_machine(size, free.getsockname()[1])

    def of(place: dict[str, str]) -> Callable[[], int]:
        def run() -> int:
            os.environ.update({**place, **env})
            return work()

        return run

    log.parent.mkdir(parents=True, exist_ok=True)
    return [Process(log.with_name(f"{log.name}.{rank}"), of(place)) for rank, place in enumerate(places)]


def together(log: Path, work: Callable[[], int], size: int = 2, **env: str) -> list[Ended]:
    """How each of them ended."""
    return [process.wait() for process in started(log, work, size, **env)]


def on_ranks(folder: Path, size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` gives on each rank, in terms of JSON."""

    def run() -> int:
        with joined() as ranks:
            ranks.connect("cpu")
            (folder / f"{ranks.rank}.json").write_text(json.dumps(work(ranks)))
        return 0

    ended = together(folder / "log", run, size)
    assert [each.status for each in ended] == [0] * size, "\n".join(each.said for each in ended)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]
