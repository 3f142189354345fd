"""Whatever breaks a run or its files, it resumes from a whole checkpoint: `tests/helpers/faults.py` at two scales."""

from __future__ import annotations

import errno
import json
import random
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from mjxrl.cli import train as command
from mjxrl.errors import RunError
from mjxrl.reporting.csv_file import CsvFile
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.storage import checkpoint, tensor_file
from mjxrl.storage.run_dir import load_config
from mjxrl.storage.tensor_file import Stream
from tests.helpers.faults import DAMAGES, PARTS, damage, newest
from tests.helpers.small_runs import rows_of, small, train

ROOT = Path(__file__).parents[2]


def faults(out: Path, *flags: str) -> dict[str, Any]:
    """What `python -m tests.helpers.faults` found; it asserts by itself that every run resumes."""
    command = [sys.executable, "-m", "tests.helpers.faults", "--out", str(out), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


def test_killed_again_and_again_a_run_ends_as_if_left_alone(tmp_path: Path) -> None:
    found = faults(tmp_path / "found.json", "--kills", "4", "--flips", "0", "--no-disk")["SIGKILL"]
    assert found["bit for bit"] and found["inside a checkpoint write"] >= 1
    assert found["most transitions lost"] <= 80


@pytest.mark.slow
def test_everything_at_length(tmp_path: Path) -> None:
    found = faults(tmp_path / "found.json", "--kills", "50", "--flips", "20", "--algo", "sac")
    assert found["SIGKILL"]["inside a checkpoint write"] >= 20 and found["SIGKILL"]["elsewhere"] >= 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "run"
    return train(small("td3", run_dir=path, total_steps=320, checkpoint={"every": 160}, eval={"final_episodes": 0}))


@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_file_is_named_and_the_checkpoint_before_it_is_whole(how: str, whole: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    for file in [*(f"{part}.safetensors" for part in PARTS), "manifest.json"]:
        if (how, file) == ("removed", "replay.safetensors"):
            continue  # no damage: the replay refills
        run = tmp_path / file
        shutil.copytree(whole, run)
        damage(run / "checkpoints" / "step_320" / file, how, chance)
        step, [problem] = newest(run)
        assert step == 160 and "step_320" in problem
        assert file in problem and "damaged" in problem and "\n" not in problem


def test_no_bit_of_a_manifest_or_a_configuration_can_change_unseen(whole: Path, tmp_path: Path) -> None:
    """Except in the names of what only informs, such as a version."""
    run, expected = tmp_path / "run", load_config(whole)
    shutil.copytree(whole, run)
    manifest, config = run / "checkpoints" / "step_320" / "manifest.json", run / "config.json"
    intact = checkpoint.read_manifest(run, "step_320", {})
    for file, check in (
        (manifest, lambda: checkpoint.read_manifest(run, "step_320", {}) == intact),
        (config, lambda: load_config(run) == expected),
    ):
        data, refused = file.read_bytes(), 0
        for bit in random.Random(1).sample(range(8 * len(data)), 150):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            try:
                assert check() or (file == manifest and b'"manifest_sha256"' not in changed), bit
            except RunError:
                refused += 1
        assert refused > 50
        file.write_bytes(data)


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = tensor_file.write

    def full(path: Path, tensors: Mapping[str, Tensor | Stream]) -> str:
        sha256 = write(path, tensors)
        if path.parent.name == ".step_320.tmp" and path.name == "replay.safetensors":
            path.write_bytes(path.read_bytes()[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return sha256

    monkeypatch.setattr(tensor_file, "write", full)
    config = small("td3", run_dir=tmp_path / "run", total_steps=400, checkpoint={"every": 160, "keep": 5})
    path = train(config)
    assert "a checkpoint could not be written, the one before it stays" in capsys.readouterr().out
    assert checkpoint.steps_saved(path) == [400, 160] and newest(path) == (400, [])
    assert not list(path.glob("checkpoints/.*.tmp"))


def test_a_last_write_that_fails_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic checkpoint of the last step is the final one too."""
    write, failed = tensor_file.write, []

    def full(path: Path, tensors: Mapping[str, Tensor | Stream]) -> str:
        if path.parent.name == ".step_400.tmp" and not failed:
            failed.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, tensors)

    monkeypatch.setattr(tensor_file, "write", full)
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=400, checkpoint={"every": 200, "keep": 5}))
    assert failed and newest(path) == (400, [])


@pytest.mark.parametrize("how", ["fails", "has no room"])
def test_a_run_whose_end_cannot_be_saved_is_no_success(
    how: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "run"
    shutil.copytree(whole, path)
    if how == "fails":
        monkeypatch.setattr(checkpoint, "save", full)
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2**20))
    monkeypatch.setattr(sys, "argv", ["mjxrl-train", "--resume", str(path), "--total-steps", "400"])
    assert command.main() == 1
    said = capsys.readouterr().err
    assert "the end of the run, at 400 steps, could not be saved" in said and "--resume" in said
    assert newest(path) == (320, [])


def test_where_even_a_line_cannot_be_written_the_run_ends_with_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "run"
    shutil.copytree(whole, path)
    monkeypatch.setattr(CsvFile, "log", full)
    monkeypatch.setattr(sys, "argv", ["mjxrl-train", "--resume", str(path), "--total-steps", "480"])
    assert command.main() == 1
    assert "No space left on device; the last checkpoint stays" in capsys.readouterr().err
    assert newest(path) == (320, [])


@pytest.mark.parametrize("damage", ["cell", "step", "bytes", "header", "empty"])
def test_damaged_metrics_do_not_stop_a_run(damage: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    lines = (whole / "metrics.csv").read_bytes().split(b"\n")
    match damage:
        case "cell":
            lines[2] = lines[2].replace(b".", b"x")
        case "step":
            lines[2] = b"x" + lines[2]
        case "bytes":
            lines[2] = b"\xff" + lines[2]
        case "header":
            lines[0] = b"\xff" + lines[0]
        case "empty":
            lines = [b""]
    path.write_bytes(b"\n".join(lines))
    with MetricsLogger(tmp_path, total_steps=640, resume_step=320) as logger:
        logger.log(400, {"train/return": 1.0})
    steps = [int(row["step"]) for row in rows_of(tmp_path)]
    kept = {"header": [], "empty": []}.get(damage, [80, 240, 320])
    assert steps == [*kept, 400]
    assert (tmp_path / "metrics.damaged.csv").exists() == (damage == "header")


def test_nothing_in_the_package_unpickles() -> None:
    forbidden = re.compile(
        r"\bpickle|cloudpickle|dill\b|joblib|shelve|marshal|(?<!safetensors\.)torch\.(load|save)\b|np\.load\b|numpy\.load\b|allow_pickle"
    )
    for folder in ("mjxrl", "envs", "scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            code = [line.partition("#")[0] for line in file.read_text().splitlines()]
            hits = [line for line in code if forbidden.search(line) and ("import" in line or "(" in line)]
            assert hits == [], (file, hits)
