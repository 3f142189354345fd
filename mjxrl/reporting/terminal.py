"""What a run prints while it trains."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping
from typing import Any


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
