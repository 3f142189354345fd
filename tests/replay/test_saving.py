"""A replay is saved as it is at one moment, while it goes on, and comes back as it was."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mjxrl.replay import Replay
from mjxrl.storage import snapshot as module
from mjxrl.storage.snapshot import Snapshot
from mjxrl.storage.tensor_file import Stream
from tests.helpers.histories import ACTION_SIZE, GAMMA, History, content, everything, saved

LIMIT = 6


def filled(history: History, capacity: int, steps: int, limit: int = LIMIT) -> Replay:
    replay = Replay(history.num_envs, 3, ACTION_SIZE, capacity=capacity, time_limit=limit, device="cpu")
    replay.start(history.obs(0))
    for t in range(steps):
        history.append_to(replay, t)
    return replay


def all_of(replay: Replay) -> list[Tensor]:
    """Every stored transition as the losses see it, by age."""
    return list(replay.gather(everything(replay), 3, GAMMA))


@pytest.mark.parametrize("limit", [LIMIT, 1])  # 1: as where nobody knows when a world is truncated
@pytest.mark.parametrize("steps", [0, 7, 40, 95])
def test_what_is_saved_comes_back(steps: int, limit: int) -> None:
    """Empty, part full, just full and wrapped."""
    history = History(3, 120, LIMIT, seed=steps)
    one, two = filled(history, 3 * 40, steps, limit), filled(history, 3 * 40, 0, limit)
    two.load_state_dict(saved(one))
    for replay in (one, two):
        for t in range(steps, steps + 9):
            history.append_to(replay, t)
    assert all(torch.equal(a, b) for a, b in zip(all_of(one), all_of(two), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(saved(one).values(), saved(two).values(), strict=True))


def test_only_rows_in_use_are_saved() -> None:
    history = History(4, 30, LIMIT, seed=1)
    replay = filled(history, 4 * 300, 30)
    snapshot = replay.snapshot()
    rows = 31 * 4 * 3 * 4 + 30 * 4 * (4 * ACTION_SIZE + 4 + 1 + 1)
    side = 30 // LIMIT + 1  # truncations of a world at most
    assert rows < snapshot.nbytes <= rows + side * 4 * 3 * 4 + 4 + 8 * 4
    assert snapshot.nbytes < 0.15 * replay.nbytes


def test_a_replay_saved_whole_as_the_first_versions_did_comes_back() -> None:
    history = History(3, 60, LIMIT, seed=4)
    one, two = filled(history, 3 * 20, 50), filled(history, 3 * 20, 0)
    old = {name: tensor.clone() for name, tensor in one._storage.items()}
    two.load_state_dict(old | {"head": torch.tensor(one._head), "filled": torch.tensor(one._filled)})
    for replay in (one, two):
        for t in range(50, 60):
            history.append_to(replay, t)
    assert all(torch.equal(a, b) for a, b in zip(all_of(one), all_of(two), strict=True))


def appending(history: History, replay: Replay, start: int, chance: random.Random, most: int) -> Callable[[], None]:
    steps = iter(range(start, history.steps))

    def some() -> None:
        for _ in range(chance.randrange(most)):
            if (t := next(steps, None)) is not None:
                history.append_to(replay, t)

    return some


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_is_of_its_moment_whatever_is_appended_meanwhile(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transitions come between two pieces, and between the copy of the live rows and the look at what was kept."""
    chance = random.Random(seed)
    history = History(3, 400, LIMIT, seed=seed)
    steps = chance.choice([10, 40, 41, 70])
    replay = filled(history, 3 * 40, steps)
    expected, snapshot = saved(replay), replay.snapshot()
    append = appending(history, replay, steps, chance, 4)
    passed = Snapshot._passed

    def late(self: Snapshot, *given: Any) -> Any:
        append()
        return passed(self, *given)

    monkeypatch.setattr(module, "CHUNK", 150)
    snapshot._room = 1e9  # nothing waits: there is one thread
    monkeypatch.setattr(Snapshot, "_passed", late)
    for name in chance.sample(sorted(snapshot._rings), len(snapshot._rings)):
        stream, pieces = snapshot.tensors[name], []
        assert isinstance(stream, Stream)
        for piece in stream.pieces:
            pieces.append(piece.clone())
            append()
        assert torch.equal(torch.cat(pieces), expected[name]), name
    for name, tensor in snapshot.tensors.items():
        assert isinstance(tensor, Stream) or torch.equal(tensor, expected[name]), name
    assert snapshot.closed and not snapshot._kept


def test_a_slow_reader_is_waited_for_rather_than_memory_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on as soon as the reader has, and at once if it gives up."""
    monkeypatch.setattr(module, "CHUNK", 200)
    history = History(3, 300, LIMIT, seed=3)
    replay = filled(history, 3 * 40, 50)
    expected, snapshot = saved(replay), replay.snapshot()
    row = sum(tensor[0].nbytes for tensor in snapshot._rings.values())
    most, ended = [0.0], threading.Event()

    def append(first: int) -> None:
        for t in range(first, first + 60):
            history.append_to(replay, t)
            most[0] = max(most[0], sum(kept.nbytes for kept, _ in snapshot._kept.values()))
        ended.set()

    loop = threading.Thread(target=append, args=(50,), daemon=True)
    loop.start()
    assert not ended.wait(0.2)  # nobody reads
    found = content(snapshot)
    assert ended.wait(60)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert 0 < most[0] <= module.KEPT * snapshot.nbytes + row
    given_up = replay.snapshot()
    ended.clear()
    loop = threading.Thread(target=append, args=(110,), daemon=True)
    loop.start()
    assert not ended.wait(0.2)
    given_up.close()
    assert ended.wait(60)
