"""Checkpoints are whole or absent, and anything wrong with one is said in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint import CheckpointError

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
