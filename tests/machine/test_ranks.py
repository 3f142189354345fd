"""What the processes of a run tell each other, and what one of them alone need not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from mjxrl.errors import CheckpointError, PeerError, RunError
from mjxrl.machine.ranks import ALONE, Ranks, differing, joined
from mjxrl.machine.torchrun import Place
from tests.helpers.ranked import on_ranks, together


def test_what_is_said_is_heard_by_all(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> list[Any]:
        late = [ranks.any_soon(ranks.rank == 2), ranks.any_soon(False), ranks.any_soon(False)]
        refused = ""
        try:
            with ranks.together():
                if ranks.rank == 1:
                    raise CheckpointError("a line")
        except RunError as error:
            refused = f"{type(error).__name__}: {error}"
        return [
            ranks.gathered({"rank": ranks.rank, "words": "x" * ranks.rank}),
            ranks.from_first(1.5 if ranks.leads else None),
            [ranks.any(ranks.rank == 2), ranks.any(False)],
            late,
            float(ranks.sum(torch.tensor(1.0 + ranks.rank))),
            float(ranks.largest(torch.tensor(1.0 + ranks.rank))),
            refused,
            [ranks.exchange([ranks.rank, k]) for k in range(2)],
        ]

    said = [{"rank": rank, "words": "x" * rank} for rank in range(3)]
    exchanged = [[[rank, k] for rank in range(3)] for k in range(2)]
    expected = [said, 1.5, [True, False], [False, True, False], 6.0, 3.0, "CheckpointError: a line", exchanged]
    assert on_ranks(tmp_path, 3, work) == [expected] * 3


def test_the_first_process_of_a_machine_goes_first(tmp_path: Path) -> None:
    """And whoever waits for it goes on though it failed."""

    def work(ranks: Ranks) -> list[Any]:
        left, seen, ended = tmp_path / "left", False, ""
        try:
            with ranks.first_here_first():
                seen = left.exists()
                if ranks.leads:
                    time.sleep(0.2)
                    left.touch()
                    raise RunError("no room")
        except RunError as error:
            ended = str(error)
        return [seen, ended]

    assert on_ranks(tmp_path, 3, work) == [[False, "no room"], [True, ""], [True, ""]]


def test_a_loops_last_vote_is_none_of_the_next_loops(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> list[bool]:
        said = []
        for _ in range(2):
            said += [ranks.any_soon(ranks.leads), ranks.any_soon(True)]
            ranks.last_vote()
        return said

    assert on_ranks(tmp_path, 2, work) == [[False, True, False, True]] * 2


def test_a_bit_or_the_order_is_told_by_name(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> list[str]:
        state = {
            "same": torch.arange(5.0),
            "order": torch.tensor([1.0, 2.0] if ranks.leads else [2.0, 1.0]),
            "zero": torch.tensor([0.0, -0.0 if ranks.leads else 0.0]),
            "flag": torch.tensor([True, ranks.leads]),
            "count": torch.tensor(7 + 2**40 * ranks.rank),
            "half": torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        }
        return differing(ranks, state)

    assert on_ranks(tmp_path, 2, work) == [["order", "zero", "flag", "count"]] * 2


def test_a_process_that_is_gone_is_noticed_in_a_line(tmp_path: Path) -> None:
    def work() -> int:
        try:
            with joined() as ranks:
                ranks.gathered(None)
                if ranks.rank == 1:
                    os._exit(5)
                ranks.sum(torch.zeros(3))
        except PeerError as error:
            print(error)
            return 6
        return 0

    first, second = together(tmp_path / "log", work)
    assert second.status == 5, second
    assert first.status == 6 and len(first.said.splitlines()) == 1 and "has ended" in first.said, first


def test_seeds_are_far_from_each_other() -> None:
    """100 seeds on 64 ranks: none twice, none that an evaluation begins with, and the first rank has the run's own."""
    ranks = [Ranks(Place(rank=rank, size=64)) for rank in range(64)]
    seeds = [each.seed(seed) for seed in range(100) for each in ranks]
    assert len(set(seeds)) == len(seeds) and ranks[0].seed(7) == 7
    own = {each.seed(seed) for seed in range(100) for each in ranks[1:]}
    assert not own & set(range(102)) and min(own) >= 0 and max(own) < 2**31


def test_one_process_asks_nobody() -> None:
    tensor = torch.tensor([1.0, 2.0])
    gradients = {"actor": tensor}
    assert ALONE.sum(tensor) is tensor and ALONE.mean_gradients(gradients, tensor) is gradients
    assert ALONE.any_soon(True) and ALONE.gathered(3) == [3] and differing(ALONE, {"x": tensor}) == []
    assert (ALONE.own("mujoco.log"), Ranks(Place(2, 3)).own("mujoco.log")) == ("mujoco.log", "mujoco.2.log")
    assert Ranks(Place(2, 3)).own("replay") == "replay.2"
