from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mjxrl.reporting import metrics
from mjxrl.reporting.metrics import CsvFile, MetricsLogger, Terminal


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def logged(run_dir: Path, *steps: tuple[int, Mapping[str, float]], **options: Any) -> list[dict[str, str]]:
    with MetricsLogger(run_dir, total_steps=100, **options) as logger:
        for step, scalars in steps:
            logger.log(step, scalars)
    return rows(run_dir / "metrics.csv")


class TestCsv:
    def test_numbers_read_back_exactly(self, tmp_path: Path) -> None:
        values = {"a": 0.1 + 0.2, "b": 1e-300, "c": -math.inf, "d": 3}
        [row] = logged(tmp_path / "run", (10, values))
        assert row.pop("step") == "10"
        assert {name: float(text) for name, text in row.items()} == values

    def test_a_row_is_on_disk_as_soon_as_it_is_logged(self, tmp_path: Path) -> None:
        with MetricsLogger(tmp_path, total_steps=100) as logger:
            logger.log(1, {"a": 1})
            logger.log(2, {"a": 2})
            assert (tmp_path / "metrics.csv").read_text() == "step,a\n1,1.0\n2,2.0\n"

    def test_new_columns_are_empty_before_and_missing_ones_after(self, tmp_path: Path) -> None:
        logged(tmp_path, (1, {"a": 1}), (2, {"a": 2, "eval/return": 5}), (3, {"a": 3}), (4, {"b": 4}))
        assert (tmp_path / "metrics.csv").read_text() == (
            "step,a,eval/return,b\n1,1.0,,\n2,2.0,5.0,\n3,3.0,,\n4,,,4.0\n"
        )
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("events")) == ["metrics.csv"]

    def test_another_runs_file_is_never_overwritten(self, tmp_path: Path) -> None:
        logged(tmp_path, (1, {"a": 1}))
        with pytest.raises(FileExistsError):
            MetricsLogger(tmp_path, total_steps=100)

    def test_a_resumed_run_equals_an_uninterrupted_one(self, tmp_path: Path) -> None:
        steps = [(i, {"a": i / 7} | ({"eval": 1.0 * i} if i % 2 else {})) for i in range(1, 7)]
        whole = logged(tmp_path / "whole", *steps)
        logged(tmp_path / "parts", *steps[:5])  # the rows of 4 and 5 are lost with the crash
        assert logged(tmp_path / "parts", *steps[3:], resume_step=3) == whole

    def test_a_line_that_a_crash_cut_short_is_dropped(self, tmp_path: Path) -> None:
        logged(tmp_path, (1, {"a": 1, "b": 1}), (2, {"a": 2, "b": 2}))
        path = tmp_path / "metrics.csv"
        path.write_text(path.read_text()[:-3])  # "2,2.0,2"
        assert [row["step"] for row in logged(tmp_path, (3, {"a": 3}), resume_step=2)] == ["1", "3"]

    def test_resuming_without_a_file_starts_one(self, tmp_path: Path) -> None:
        assert logged(tmp_path, (5, {"a": 1}), resume_step=4) == [{"step": "5", "a": "1.0"}]

    @given(st.lists(st.dictionaries(st.sampled_from('abc,"'), st.floats(allow_nan=False), max_size=4), max_size=6))
    def test_whatever_the_columns_every_value_is_found_again(self, history: list[dict[str, float]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "metrics.csv"
            file = CsvFile(path)
            for step, row in enumerate(history):
                file.log(step, row)
            file.close()
            found = [{k: float(v) for k, v in row.items() if k != "step" and v} for row in rows(path)]
        assert found == history


class TestTensorBoard:
    def read(self, run_dir: Path) -> dict[str, list[tuple[int, float]]]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run_dir)).Reload()
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    def test_it_reads_what_was_logged(self, tmp_path: Path) -> None:
        logged(tmp_path, (10, {"a": 0.5, "b": 1}), (20, {"a": 0.25}))
        assert self.read(tmp_path) == {"a": [(10, 0.5), (20, 0.25)], "b": [(10, 1.0)]}

    def test_what_a_resumed_run_does_again_replaces_what_was_lost(self, tmp_path: Path) -> None:
        logged(tmp_path, (10, {"a": 1}), (20, {"a": 2}))
        logged(tmp_path, (20, {"a": 3}), resume_step=10)
        assert self.read(tmp_path) == {"a": [(10, 1.0), (20, 3.0)]}


class TestTerminal:
    def test_plain_lines_where_there_is_no_terminal(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with MetricsLogger(tmp_path, total_steps=100_000) as logger:
            logger.log(50_000, {"time/env_steps_per_s": 1234.5, "time/updates_per_s": 99, "train/return": 12.34})
            logger.say("saved [1]")
        line, said = capsys.readouterr().out.splitlines()
        assert said == "saved [1]"
        for part in ("50,000 steps", "1,234 env-steps/s", "99 updates/s", "return    12.3", "0:00 left"):
            assert part in line

    def test_time_left_follows_the_nearer_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
        terminal = Terminal(total_steps=1000, max_minutes=10, first_step=200)
        now[0] = 60.0
        assert terminal.fraction_done(200) == pytest.approx(0.1)
        assert terminal.fraction_done(600) == pytest.approx(0.5)
        assert terminal.fraction_done(5000) == 1.0
        assert terminal._parts(600, 0.5)[-1] == "1:00 left"
        assert terminal._parts(200, 0.01)[-1] == "1:39:00 left"

    def test_a_return_that_is_not_known_yet_is_a_dash(self) -> None:
        terminal = Terminal(total_steps=1000)
        terminal._latest = {"train/return": math.nan}
        assert terminal._parts(0, 0.0)[3].split() == ["return", "-"]


@pytest.mark.parametrize("rank", ["1", "", "x"])
def test_what_a_scheduler_leaves_in_the_environment_changes_nothing(
    rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    assert logged(tmp_path / "run", (1, {"a": 1})) == [{"step": "1", "a": "1.0"}]
