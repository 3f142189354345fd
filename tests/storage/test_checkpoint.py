"""Checkpoints are whole or absent, and anything wrong with one is said in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from mjxrl.errors import CheckpointError
from mjxrl.machine.ranks import Ranks
from mjxrl.storage import checkpoint, tensor_file
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from tests.helpers.ranked import on_ranks

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
    assert [set(checkpoint.read(run, f"step_{step}", {}).files) for step in (400, 300)] == [{*files}, {"learner"}]


def test_a_run_that_went_back_before_a_damaged_checkpoint_keeps_its_own(run: Path) -> None:
    """500 is damaged, the run was resumed from 100 and writes 400: that is the newest, replay and all."""
    files = {"learner": {"x": torch.zeros(2)}, "replay": {"x": torch.zeros(2)}}
    checkpoint.save(run, 500, files, INFO)
    (run / "checkpoints" / "step_500" / "learner.safetensors").write_bytes(b"cut short")
    checkpoint.save(run, 400, files, INFO)
    checkpoint.prune(run, 400, keep=2)
    assert checkpoint.steps_saved(run) == [400, 100]
    assert checkpoint.read(run, "latest", INFO).files["replay"]["x"].tolist() == [0, 0]


def test_best_is_the_highest_return_and_whole_at_every_moment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run comes by the same step again, and dies before or after the folder has its name."""

    def best(step: int, value: float) -> None:
        tensors = {"learner": {"x": torch.tensor([value])}}
        checkpoint.save(run, step, tensors, INFO | {"return": value}, kind="best")

    def found() -> float:
        return checkpoint.load(run, "best", "learner", INFO)["x"].item()

    best(300, 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            best(300, 2.0)
    assert found() == 1
    best(300, 3.0)
    assert found() == 3
    for step, value in ((300, 4.0), (200, 5.0), (200, 6.0)):
        best(step, value)
        checkpoint.prune_best(run)
        assert found() == value
    assert len(list((run / "checkpoints").glob("best_*"))) == 1


@pytest.mark.parametrize("copied", ["links", "as folders", "left out"])
def test_a_run_from_when_latest_and_best_were_links(copied: str, run: Path, tmp_path: Path) -> None:
    """As it is, after `cp -rL`, and from a place that knows no links; it goes on, and what stood still is cleared."""
    folder, value = run / "checkpoints", {"learner": {"x": torch.tensor([7.0])}}
    checkpoint.save(run, 90, value, INFO | {"return": 7.0}, kind="best")
    for link, target in (("latest", "step_100"), ("best", "best_90")):
        match copied:
            case "links":
                (folder / link).symlink_to(target)
            case "as folders":
                shutil.copytree(folder / target, folder / link)
    assert len(checkpoint.load(run, "latest", "learner", INFO)) == 2
    assert checkpoint.load(run, "best", "learner", INFO)["x"] == 7
    checkpoint.save(run, 200, value, INFO)
    checkpoint.save(run, 190, {"learner": {"x": torch.tensor([8.0])}}, INFO | {"return": 8.0}, kind="best")
    assert checkpoint.load(run, "latest", "learner", INFO)["x"] == 7
    assert checkpoint.load(run, "best", "learner", INFO)["x"] == 8
    checkpoint.prune(run, 200, keep=2)
    checkpoint.prune_best(run)
    assert {path.name for path in folder.iterdir()} == {"step_100", "step_200", "best_190"}


def test_without_links_old_checkpoints_go_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, SMB."""
    monkeypatch.setattr(os, "symlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError("no links here")))
    said: list[str] = []
    writer = CheckpointWriter(run, 1, said.append)
    for step in (200, 300):
        assert writer.save(step, {"learner": {"x": torch.zeros(1)}}, INFO) and writer.wait()
    assert checkpoint.steps_saved(run) == [300] and said == []


def test_reading_the_latest_while_it_is_replaced(run: Path) -> None:
    """Each reader gets one checkpoint, manifest and file, though pruning takes it away meanwhile."""
    done = threading.Event()

    def write() -> None:
        for step in range(101, 160):
            checkpoint.save(run, step, {"learner": {"x": torch.full((8,), float(step))}}, INFO)
            checkpoint.prune(run, step, keep=1)
        done.set()

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        reads = 0
        while not done.is_set() and not writing.done():
            manifest, files = checkpoint.read(run, "latest", INFO)
            assert manifest["step"] == 100 or (files["learner"]["x"] == manifest["step"]).all()
            reads += 1
        writing.result()
    assert reads > 5


def test_what_an_interrupted_write_left_goes_with_the_next(run: Path) -> None:
    left = run / "checkpoints" / ".step_120.tmp"
    left.mkdir()
    (left / "replay.safetensors").write_bytes(b"half of it")
    checkpoint.save(run, 200, {"learner": {"x": torch.zeros(1)}}, INFO)
    assert not left.exists()


def test_nothing_partial_is_left_or_pointed_at(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash while the second file is written leaves the checkpoint before the latest."""
    write, calls = tensor_file.write, []

    def crash(path: Path, tensors: Any) -> str:
        calls.append(path)
        if len(calls) == 2:
            raise OSError("disk full")
        return write(path, tensors)

    monkeypatch.setattr(tensor_file, "write", crash)
    files = {"learner": {"x": torch.zeros(2)}, "replay": {"x": torch.zeros(2)}}
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(run, 300, files, INFO)
    assert not (run / "checkpoints" / "step_300").exists()
    assert checkpoint.read_manifest(run, "latest", INFO)["step"] == 100
    monkeypatch.undo()
    checkpoint.save(run, 300, files, INFO)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step_100", "step_300"]


def test_what_one_rank_cannot_write_nobody_renames(tmp_path: Path) -> None:
    """All know why, and the checkpoint before it is whole, with the parts of both."""

    def work(ranks: Ranks) -> list[Any]:
        checkpoint.save(tmp_path, 100, {"learner": {"x": torch.ones(1)}}, INFO, ranks=ranks)
        if ranks.rank == 1:

            def full(path: Path, tensors: Any) -> str:
                raise OSError("no space left")

            tensor_file.write = full
        try:
            checkpoint.save(tmp_path, 200, {"learner": {"x": torch.ones(1)}}, INFO, ranks=ranks)
        except OSError as error:
            return [str(error)]
        return []

    assert on_ranks(tmp_path, 2, work) == [["no space left"]] * 2
    assert checkpoint.steps_saved(tmp_path) == [100] and not list((tmp_path / "checkpoints").glob(".*"))
    assert checkpoint.read_manifest(tmp_path, "latest", INFO)["sha256"].keys() == {"learner", "learner.1"}
