from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mjxrl.reporting.csv_file import CsvFile
from mjxrl.reporting.metrics import MetricsLogger
from tests.helpers.logs import csv_rows, logged


def test_numbers_read_back_exactly(tmp_path: Path) -> None:
    values = {"a": 0.1 + 0.2, "b": 1e-300, "c": -math.inf, "d": 3}
    [row] = logged(tmp_path / "run", (10, values))
    assert row.pop("step") == "10"
    assert {name: float(text) for name, text in row.items()} == values


def test_a_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    with MetricsLogger(tmp_path, total_steps=100) as logger:
        logger.log(1, {"a": 1})
        logger.log(2, {"a": 2})
        assert (tmp_path / "metrics.csv").read_text() == "step,a\n1,1.0\n2,2.0\n"


def test_new_columns_are_empty_before_and_missing_ones_after(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"a": 1}), (2, {"a": 2, "eval/return": 5}), (3, {"a": 3}), (4, {"b": 4}))
    assert (tmp_path / "metrics.csv").read_text() == ("step,a,eval/return,b\n1,1.0,,\n2,2.0,5.0,\n3,3.0,,\n4,,,4.0\n")
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("events")) == ["metrics.csv"]


def test_another_runs_file_is_never_overwritten(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"a": 1}))
    with pytest.raises(FileExistsError):
        MetricsLogger(tmp_path, total_steps=100)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    steps = [(i, {"a": i / 7} | ({"eval": 1.0 * i} if i % 2 else {})) for i in range(1, 7)]
    whole = logged(tmp_path / "whole", *steps)
    logged(tmp_path / "parts", *steps[:5])  # the rows of 4 and 5 are lost with the crash
    assert logged(tmp_path / "parts", *steps[3:], resume_step=3) == whole


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"a": 1, "b": 1}), (2, {"a": 2, "b": 2}))
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text()[:-3])  # "2,2.0,2"
    assert [row["step"] for row in logged(tmp_path, (3, {"a": 3}), resume_step=2)] == ["1", "3"]


def test_resuming_without_a_file_starts_one(tmp_path: Path) -> None:
    assert logged(tmp_path, (5, {"a": 1}), resume_step=4) == [{"step": "5", "a": "1.0"}]


@given(st.lists(st.dictionaries(st.sampled_from('abc,"'), st.floats(allow_nan=False), max_size=4), max_size=6))
def test_whatever_the_columns_every_value_is_found_again(history: list[dict[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        file = CsvFile(path)
        for step, row in enumerate(history):
            file.log(step, row)
        file.close()
        found = [{k: float(v) for k, v in row.items() if k != "step" and v} for row in csv_rows(path)]
    assert found == history
