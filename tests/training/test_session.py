"""Worlds that somebody else wrote are trained on, and gone on with as far as they can be saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl.config import Config
from mjxrl.training.trainer import Trainer
from tests.helpers.rail import LIMIT, Rail, SavedRail
from tests.helpers.small_runs import rows_of, small

N = 8


def config_of(**changes: Any) -> Config:
    learner = {"normalize_obs": True, "scale_rewards": True}
    return small("sac", env="rail", task=None, learner=learner, eval={"every": 320, "episodes": 4}, **changes)


def trainer_of(kind: type[Rail], path: Path, total_steps: int = 640, restored: bool = False) -> Trainer:
    trainer = Trainer(kind(N), kind(4), config_of(total_steps=total_steps), path)
    if restored:
        trainer.session.restore("latest")
    trainer.run()
    return trainer


def test_worlds_that_can_be_saved_go_on_bit_for_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = trainer_of(SavedRail, tmp_path / "whole")
    trainer_of(SavedRail, tmp_path / "parts", total_steps=344)
    parts = trainer_of(SavedRail, tmp_path / "parts", restored=True)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    for one, other in ((whole.session, parts.session), (whole.session.learner, parts.session.learner)):
        state, again = one.state_dict(), other.state_dict()
        assert state.keys() == again.keys() and all(torch.equal(state[name], again[name]) for name in state)
    assert "cannot be saved" not in capsys.readouterr().out


def test_others_say_so_and_begin_new_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer_of(Rail, tmp_path, total_steps=344)  # 43 steps: most worlds are within an episode
    said = capsys.readouterr().out
    assert "these worlds cannot be saved: a run that is resumed begins new episodes in them" in said
    assert not (tmp_path / "checkpoints" / "step_344" / "env.safetensors").exists()
    trainer = Trainer(Rail(N), Rail(4), config_of(), tmp_path)
    session, replay = trainer.session, trainer.session.replay
    session.restore("latest")
    assert isinstance(trainer.worlds, Rail) and trainer.worlds.seeds == [344]  # not the first episodes again
    assert session.obs is not None and torch.equal(session.obs, trainer.worlds.state)
    assert torch.equal(replay._obs[replay._head], session.obs)
    newest = replay._flags[replay._head - 1]
    assert ((newest == 0) | (newest & 3 > 0)).all() and (newest == 0).any()  # cut off where no end of an episode was
    sums = session.episodes.state_dict()
    assert not sums["lengths"].any() and not sums["returns"].any()
    assert not session.learner.state_dict()["return_scale.returns"].any()
    trainer.run()
    assert session.steps == 640 and session.updates > 0


def test_no_length_of_an_episode_spans_a_resume(tmp_path: Path) -> None:
    trainer_of(Rail, tmp_path, total_steps=344)
    trainer_of(Rail, tmp_path, restored=True)
    lengths = [float(row["train/length"]) for row in rows_of(tmp_path) if row["train/length"]]
    assert lengths and max(lengths) <= LIMIT


@pytest.mark.parametrize(
    ("worlds", "eval_worlds", "said"),
    [(Rail(4), Rail(4), "num_envs=4, config num_envs=8"), (Rail(N), "wider", r"\(3, 1, .* of eval_worlds")],
)
def test_worlds_that_do_not_fit_are_refused(worlds: Rail, eval_worlds: Any, said: str, tmp_path: Path) -> None:
    if eval_worlds == "wider":
        eval_worlds = Rail(4)
        eval_worlds.obs_size = 3
    with pytest.raises(ValueError, match=said):
        Trainer(worlds, eval_worlds, config_of(), tmp_path)
