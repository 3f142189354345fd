"""Under pytest a tensor of another shape than its annotation says is named, also inside a batch; a run never asks."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, NamedTuple

import pytest
import torch
from torch import Tensor

from mjxrl.learners import td3
from mjxrl.replay import Batch
from tests.helpers.learners import filled_replay, learner_of
from tests.helpers.oracles import ACTION, OBS, make_network
from tests.helpers.shapes import ShapeError, checked


class Pair(NamedTuple):
    a: Annotated[Tensor, "B O"]
    b: Annotated[Tensor, "bool B"] | None


@checked
def example(pair: Pair, x: Annotated[Tensor, "*E B"] | float, y: Annotated[Tensor, "1 _"]) -> Annotated[Tensor, "*E"]:
    return x.sum(-1) if isinstance(x, Tensor) else torch.zeros(2, 3)


FLAGS = torch.ones(4, dtype=torch.bool)
GOOD = (Pair(torch.zeros(4, 3), FLAGS), torch.zeros(5, 6, 4), torch.zeros(1, 9))


@pytest.mark.parametrize("x", [torch.zeros(5, 6, 4), torch.zeros(4), 1.0])
@pytest.mark.parametrize("b", [FLAGS, None])
def test_what_fits_passes(x: Tensor | float, b: Tensor | None) -> None:
    example(Pair(torch.zeros(4, 3), b), x, torch.zeros(1, 9))


@pytest.mark.parametrize(
    ("which", "wrong", "said"),
    [
        (0, Pair(torch.zeros(4, 3, 1), FLAGS), r"example: pair\.a is torch\.float32 \[4, 3, 1\], expected 'B O'$"),
        (0, Pair(torch.zeros(4, 3).long(), FLAGS), r"pair\.a is torch\.int64"),
        (0, Pair(torch.zeros(4, 3), FLAGS.float()), r"pair\.b is torch\.float32 \[4\], expected 'bool B'"),
        (0, Pair(torch.zeros(4, 3), torch.ones(5, dtype=torch.bool)), r"pair\.b .* where \{'B': 4, 'O': 3\}"),
        (1, torch.zeros(4, 5), r"x is .* \[4, 5\], expected '\*E B'"),
        (1, torch.zeros(()), r"x is .* \[\]"),
        (2, torch.zeros(2, 9), r"y is .* \[2, 9\], expected '1 _'"),
        (2, None, r"y is None"),
    ],
)
def test_what_does_not_is_named(which: int, wrong: object, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        example(*GOOD[:which], wrong, *GOOD[which + 1 :])  # type: ignore[arg-type]


def test_losses_batches_and_windows_are_checked(batch: Batch) -> None:
    critics, _ = make_network((OBS + ACTION, 7, 1), 3, members=2)
    actor, _ = make_network((OBS, 7, ACTION), 3)
    good = td3.td3_actor_loss(actor.layers, critics.frozen, batch)[0]
    assert good.dim() == 0
    with pytest.raises(ShapeError, match=r"td3_actor_loss: batch\.reward is .* \[12, 1\], expected '\.\.\. B'"):
        td3.td3_actor_loss(actor.layers, critics.frozen, batch._replace(reward=batch.reward.unsqueeze(-1)))
    replay, learner = filled_replay(), learner_of("td3")
    windows = replay.windows(replay.draw(2, 8, torch.Generator()), 1, 0.9)
    with pytest.raises(ShapeError, match=r"Replay\.read: windows"):
        replay.read(windows._replace(next=windows.next[:, 1:]))
    with pytest.raises(ShapeError, match=r"Learner\.act: obs"):
        learner.act(torch.zeros(5))


def test_a_run_knows_nothing_of_it() -> None:
    code = "import sys, mjxrl.learners as m, mjxrl.learners.td3 as t; print(hasattr(t.policy, '__wrapped__'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
