"""A run's numbers, written once per log interval: metrics.csv, TensorBoard events, and the terminal.

Wall-clock columns have names that start with `time/`; all others are the same in two runs of one seed on one CPU.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mjxrl.storage.files import saving

STEP = "step"


class MetricsLogger:
    """Writes rows of scalars by step, in env transitions.

    Columns need not be named up front: a row may bring new ones, which stay empty in the rows before it. Names that
    the terminal shows are `time/env_steps_per_s`, `time/updates_per_s`, `train/return` and `eval/return`.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        total_steps: int,
        max_minutes: float | None = None,
        resume_step: int | None = None,
    ) -> None:
        """Open the files in `run_dir`, which is created if need be.

        Args:
            run_dir: the run's folder.
            total_steps: where the run ends, in env transitions.
            max_minutes: where it ends if that comes first.
            resume_step: continue the metrics.csv of an interrupted run, without its rows after this step.

        Raises:
            FileExistsError: there is a metrics.csv and `resume_step` is None.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        self._sinks: list[CsvFile | TensorBoardFile | Terminal] = [
            CsvFile(run_dir / "metrics.csv", resume_step),
            TensorBoardFile(run_dir, resume_step),
            Terminal(total_steps, max_minutes, resume_step or 0),
        ]

    def begin(self) -> None:
        """The first step comes next: what the terminal says of the time left counts from here."""
        for sink in self._sinks:
            if isinstance(sink, Terminal):
                sink.begin()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one row, and flush it.

        Raises:
            SavingError: it cannot be written.
        """
        row = {name: float(value) for name, value in scalars.items()}
        with saving():
            for sink in self._sinks:
                sink.log(step, row)

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """Show a GIF of that width and height in TensorBoard."""
        for sink in self._sinks:
            if isinstance(sink, TensorBoardFile):
                sink.film(step, tag, gif, size)

    def say(self, text: str) -> None:
        """Print a line without disturbing the progress display."""
        for sink in self._sinks:
            if isinstance(sink, Terminal):
                sink.say(text)

    def close(self) -> None:
        """Close the files and leave the terminal as it was."""
        for sink in self._sinks:
            sink.close()
        self._sinks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CsvFile:
    """metrics.csv: `step` first, then the columns in order of appearance; numbers read back exactly."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self._path = path
        self._columns = [STEP]
        kept: list[dict[str, str]] = []
        if resume_step is not None and path.exists():
            self._columns, kept = _read(path)
            if self._columns[0] != STEP:  # not ours, or damaged: it is put aside, not lost
                os.replace(path, path.with_suffix(".damaged.csv"))
                self._columns, kept = [STEP], []
            kept = [row for row in kept if int(row[STEP]) <= resume_step]
            self._rewrite(kept)
        else:
            path.open("x").close()  # never over another run's
        self._file = path.open("a", newline="")
        self._empty = not kept

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Append a row; one with new columns first gives the file a wider header."""
        new = [name for name in row if name not in self._columns]
        if new or self._empty:
            self._file.close()
            rows = _read(self._path)[1]
            self._columns = self._columns + new
            self._rewrite(rows)
            self._file = self._path.open("a", newline="")
            self._empty = False
        cells = {STEP: str(step)} | {name: repr(value) for name, value in row.items()}
        self._file.write(_lines([[cells.get(name, "") for name in self._columns]]))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Replace the file in one go, so that a reader or a crash never sees half of it."""
        aside = self._path.with_name(self._path.name + ".tmp")
        lines = [self._columns] + [[row.get(name, "") for name in self._columns] for row in rows]
        aside.write_text(_lines(lines), newline="")
        os.replace(aside, self._path)


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a metrics.csv; a line that a crash cut short or that was damaged is left out."""
    whole, _, _ = path.read_text(errors="replace").rpartition("\n")
    lines = list(csv.reader(whole.splitlines()))
    columns = lines[0] if lines else [STEP]
    whole_lines = (line for line in lines[1:] if len(line) == len(columns) and _numbers(line))
    return columns, [dict(zip(columns, line, strict=True)) for line in whole_lines]


def _numbers(line: list[str]) -> bool:
    """Whether a line is a whole number of steps and numbers or nothing behind it."""
    try:
        [float(cell) for cell in line[1:] if cell]
    except ValueError:
        return False
    return line[0].isdecimal()


class TensorBoardFile:
    """TensorBoard's event file, written without its writer thread and without TensorFlow or torch."""

    def __init__(self, run_dir: Path, resume_step: int | None = None) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._events: Any = event_pb2  # their classes are made at run time
        self._summaries: Any = summary_pb2
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((run_dir / name).open("xb"))
        self._write(file_version="brain.Event:2")
        if resume_step is not None:  # TensorBoard then drops what earlier files hold from this step on
            session_log = self._events.SessionLog(status=self._events.SessionLog.START)
            self._write(step=resume_step + 1, session_log=session_log)

    def log(self, step: int, row: Mapping[str, float]) -> None:
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in row.items()]
        self._write(step=step, summary=self._summaries.Summary(value=values))

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """An image, which moves."""
        image = self._summaries.Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=gif)
        value = self._summaries.Summary.Value(tag=tag, image=image)
        self._write(step=step, summary=self._summaries.Summary(value=[value]))

    def close(self) -> None:
        self._records.close()

    def _write(self, **content: Any) -> None:
        self._records.write(self._events.Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


class Terminal:
    """A progress bar on a terminal, plain lines elsewhere: steps, env-steps/s, updates/s, return, time left."""

    def __init__(self, total_steps: int, max_minutes: float | None = None, first_step: int = 0) -> None:
        self._total_steps, self._max_minutes, self._first_step = total_steps, max_minutes, first_step
        self.begin()
        self._latest: dict[str, float] = {}
        self._progress: Any = None
        if sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            text = TextColumn("{task.description}", table_column=Column())  # wraps where the terminal is narrow
            self._progress = Progress(BarColumn(bar_width=12), text, refresh_per_second=2)
            self._bar = self._progress.add_task("starting", total=1.0)
            self._progress.start()

    def begin(self) -> None:
        self._started = time.monotonic()

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self._latest |= row
        done = self.fraction_done(step)
        parts = self._parts(step, done)
        if self._progress is None:
            print("  ".join(parts), flush=True)
        else:
            text = " · ".join(" ".join(part.split()) for part in parts)
            self._progress.update(self._bar, completed=done, description=text)

    def say(self, text: str) -> None:
        if self._progress is None:
            print(text, flush=True)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress is not None:
            with contextlib.suppress(BrokenPipeError):
                self._progress.stop()

    def fraction_done(self, step: int) -> float:
        """How much of the run is behind us, by transitions or by minutes, whichever limit is nearer."""
        by_steps = (step - self._first_step) / max(1, self._total_steps - self._first_step)
        minutes = (time.monotonic() - self._started) / 60
        by_minutes = minutes / self._max_minutes if self._max_minutes else 0.0
        return min(1.0, max(by_steps, by_minutes))

    def _parts(self, step: int, done: float) -> list[str]:
        def shown(name: str) -> str:
            value = self._latest.get(name, math.nan)
            return "-" if math.isnan(value) else f"{value:,.1f}" if name.endswith("return") else f"{value:,.0f}"

        elapsed = time.monotonic() - self._started
        left = _clock(elapsed / done - elapsed) if done > 0 else "-"
        return [
            f"{step:>10,} steps",
            f"{shown('time/env_steps_per_s'):>6} env-steps/s",
            f"{shown('time/updates_per_s'):>5} updates/s",
            f"return {shown('train/return'):>7}",
            f"eval {shown('eval/return'):>7}",
            f"{left} left",
        ]


def _clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
