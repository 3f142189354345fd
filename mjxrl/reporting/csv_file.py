"""metrics.csv, a row of which is on the disk as soon as it is logged."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from mjxrl.storage.files import replace

STEP = "step"


class CsvFile:
    """metrics.csv: `step` first, then the columns in order of appearance; numbers read back exactly."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self._path = path
        self._columns = [STEP]
        kept: list[dict[str, str]] = []
        if resume_step is not None and path.exists():
            self._columns, kept = _read(path)
            if self._columns[0] != STEP:  # not ours, or damaged: it is put aside, not lost
                replace(path, path.with_suffix(".damaged.csv"))
                self._columns, kept = [STEP], []
            kept = [row for row in kept if int(row[STEP]) <= resume_step]
            self._rewrite(kept)
        else:
            path.open("x", encoding="utf-8").close()  # never over another run's
        self._file = path.open("a", newline="", encoding="utf-8")
        self._empty = not kept

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Append a row; one with new columns first gives the file a wider header."""
        new = [name for name in row if name not in self._columns]
        if new or self._empty:
            self._file.close()
            rows = _read(self._path)[1]
            self._columns = self._columns + new
            self._rewrite(rows)
            self._file = self._path.open("a", newline="", encoding="utf-8")
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
        aside.write_text(_lines(lines), newline="", encoding="utf-8")
        replace(aside, self._path)


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a metrics.csv; a line that a crash cut short or that was damaged is left out."""
    whole, _, _ = path.read_text(errors="replace", encoding="utf-8").rpartition("\n")
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
