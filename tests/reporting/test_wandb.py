"""W&B, offline: what its own reader finds in the run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mjxrl.errors import UnavailableError
from mjxrl.reporting.metrics import MetricsLogger
from tests.helpers.logs import csv_rows

wandb = pytest.importorskip("wandb", reason="W&B is missing: pip install 'mjxrl[wandb]'")

GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


def records(run_dir: Path) -> list[dict[str, Any]]:
    """Of all starts of a run, as `wandb leet inspect --json` prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    said = [
        subprocess.run([*command, str(file)], capture_output=True, text=True, check=True, timeout=60).stdout
        for file in sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
    ]
    return [json.loads(line) for lines in said for line in lines.splitlines()]


def history(found: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows, as metrics.csv has them."""
    items = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [
        {"step": str(item["_step"])} | {name: repr(float(v)) for name, v in item.items() if not name.startswith("_")}
        for item in items
    ]


def test_a_run_and_its_resumption_are_one_with_the_numbers_of_metrics_csv(tmp_path: Path) -> None:
    run_dir, told = tmp_path / "my-run", {"algo": "td3", "learner": {"gamma": 0.99}}
    every = {"total_steps": 100, "options": told, "wandb_project": "walking"}
    with MetricsLogger(run_dir, **every) as logger:
        logger.log(10, {"train/return": 0.1 + 0.2, "updates": 7})
        logger.log(20, {"train/return": 1e-300, "eval/return": -1 / 3})
    with MetricsLogger(run_dir, resume_step=20, **every) as logger:
        logger.log(30, {"train/return": 2e7 / 3})
        logger.finish(30, {"trained": {"mean_return": 2.5, "returns": [2, 3]}, "random": {"mean_return": -1}})
    found = records(run_dir)
    rows = [{name: cell for name, cell in row.items() if cell} for row in csv_rows(run_dir / "metrics.csv")]
    assert history(found) == rows and len(rows) == 3
    starts = [record["run"] for record in found if record["type"] == "run"]
    assert {(run["run_id"], run["project"], run["display_name"]) for run in starts} == {
        ((run_dir / "wandb" / "id").read_text(), "walking", "my-run")
    }
    assert starts[0]["config"]["update"]["learner"] == {"gamma": 0.99}
    summary: dict[str, Any] = {}
    for record in found:
        summary |= record["summary"]["update"] if record["type"] == "summary" else {}
    assert {name: v for name, v in summary.items() if name.startswith("final/")} == {
        "final/trained/mean_return": 2.5, "final/random/mean_return": -1,
    }  # fmt: skip


def test_a_film_goes_with_the_row_of_its_step_and_an_error_makes_a_failed_run(tmp_path: Path) -> None:
    def film_and_fail() -> None:
        with MetricsLogger(tmp_path, total_steps=100, wandb_project="walking") as logger:
            logger.film(10, "eval/film", GIF, (1, 1))
            logger.log(10, {"eval/return": 1})
            raise KeyError

    with pytest.raises(KeyError):
        film_and_fail()
    found = records(tmp_path)
    [item] = [record["history"]["item"] for record in found if record["type"] == "history"]
    assert (item["_step"], item["eval/return"]) == (10, 1)
    [film] = tmp_path.glob(f"wandb/offline-run-*/files/{item['eval/film.path']}")
    assert film.read_bytes() == GIF
    assert found[-1]["exit"]["exit_code"] == 1


def test_what_wandb_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.UsageError("No API key configured.\n  Use `wandb login`.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UnavailableError) as refused:
        MetricsLogger(tmp_path, total_steps=100, wandb_project="walking")
    assert str(refused.value) == (
        "--log.wandb walking: allowed: after `wandb login`, or with WANDB_MODE=offline: "
        "No API key configured. Use `wandb login`."
    )
