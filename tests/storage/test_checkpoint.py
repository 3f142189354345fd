"""Checkpoints are whole or absent, and anything wrong with one is said in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from mjxrl.errors import CheckpointError
from mjxrl.storage import checkpoint

INFO = {"env": "Ant-v5", "algo": "sac"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path, 100, {"learner": {"x": torch.arange(6.0), "n": torch.tensor(3)}}, INFO)
    return tmp_path


def test_round_trip(run: Path) -> None:
    state = checkpoint.load(run, "latest", "learner", INFO)
    assert torch.equal(state["x"], torch.arange(6.0)) and state["n"] == 3
    checkpoint.save(run, 200, {"learner": {"x": torch.zeros(1)}}, INFO)
    assert len(checkpoint.load(run, "latest", "learner", INFO)) == 1
    assert len(checkpoint.load(run, "step_100", "learner", INFO)) == 2


def refusal(run: Path, which: str = "latest", expect: dict[str, str] = INFO) -> str:
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(run, which, "learner", expect)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_missing(run: Path, tmp_path: Path) -> None:
    assert "step_7" in refusal(run, "step_7") and "step_100" in refusal(run, "step_7")
    assert "none" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "pickle", "manifest", "no manifest"])
def test_damage_is_named(run: Path, damage: str) -> None:
    file, manifest = (run / "checkpoints" / "step_100" / name for name in ("learner.safetensors", "manifest.json"))
    data = file.read_bytes()
    match damage:
        case "truncate":
            file.write_bytes(data[:-1])
        case "flip":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "remove":
            file.unlink()
        case "pickle":
            file.write_bytes(pickle.dumps({"x": 1}))
        case "manifest":
            manifest.write_text("{")
        case "no manifest":
            manifest.unlink()
    assert "damaged" in refusal(run)


def test_another_task_or_format(run: Path) -> None:
    assert "'Ant-v5'" in refusal(run, expect={"env": "Humanoid-v5"})
    manifest = run / "checkpoints" / "step_100" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    assert "format 99" in refusal(run)


def test_only_the_newest_stay_and_only_the_very_newest_keeps_its_replay(run: Path) -> None:
    files = {"learner": {"x": torch.zeros(2)}, "replay": {"x": torch.zeros(2)}}
    for step in (200, 300, 400):
        checkpoint.save(run, step, files, INFO)
        checkpoint.prune(run, step, keep=2)
    assert checkpoint.steps_saved(run) == [400, 300]
    assert [checkpoint.has_replay(run, f"step_{step}") for step in (400, 300)] == [True, False]


def test_a_run_that_went_back_before_a_damaged_checkpoint_keeps_its_own(run: Path) -> None:
    """500 is damaged, the run was resumed from 100 and writes 400: that is the newest, replay and all."""
    files = {"learner": {"x": torch.zeros(2)}, "replay": {"x": torch.zeros(2)}}
    checkpoint.save(run, 500, files, INFO)
    (run / "checkpoints" / "step_500" / "learner.safetensors").write_bytes(b"cut short")
    checkpoint.save(run, 400, files, INFO)
    checkpoint.prune(run, 400, keep=2)
    assert checkpoint.steps_saved(run) == [400, 100] and checkpoint.has_replay(run, "step_400")
    assert checkpoint.load(run, "latest", "learner", INFO)["x"].tolist() == [0, 0]


def test_best_is_whole_at_every_moment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run comes by the same best again; it dies before the link is moved."""

    def best(value: float) -> None:
        checkpoint.save(run, 300, {"learner": {"x": torch.tensor([value])}}, INFO, kind="best")

    def found() -> float:
        return checkpoint.load(run, "best", "learner", INFO)["x"].item()

    best(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            best(2.0)
    assert found() == 1
    for value in (3.0, 4.0, 5.0):
        best(value)
        checkpoint.prune_best(run)
        assert found() == value
    assert len(list((run / "checkpoints").glob("best_*"))) == 1


def test_nothing_partial_is_left_or_pointed_at(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash while the second file is written leaves `latest` on the checkpoint before."""
    write, calls = checkpoint.write_atomically, []

    def crash(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError("disk full")
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", crash)
    files = {"learner": {"x": torch.zeros(2)}, "replay": {"x": torch.zeros(2)}}
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(run, 300, files, INFO)
    assert not (run / "checkpoints" / "step_300").exists()
    assert (run / "checkpoints" / "latest").resolve().name == "step_100"
    monkeypatch.undo()
    checkpoint.save(run, 300, files, INFO)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["latest", "step_100", "step_300"]
