"""A run's numbers, written once per log interval: metrics.csv, TensorBoard events, the terminal and, if asked, W&B.

Wall-clock columns have names that start with `time/`; all others are the same in two runs of one seed on one CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mjxrl.config import Config
from mjxrl.reporting.csv_file import CsvFile
from mjxrl.reporting.tensorboard import TensorBoardFile
from mjxrl.reporting.terminal import Terminal
from mjxrl.reporting.wandb import WandbRun
from mjxrl.storage.files import saving
from mjxrl.storage.run_dir import options_of


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
        options: Mapping[str, Any] | None = None,
        wandb_project: str | None = None,
        leads: bool = True,
    ) -> None:
        """Open the files in `run_dir`, which is created if need be.

        Args:
            run_dir: the run's folder.
            total_steps: where the run ends, in env transitions.
            max_minutes: where it ends if that comes first.
            resume_step: continue the metrics.csv of an interrupted run, without its rows after this step.
            options: what the run was told, in terms of JSON, for those who compare runs.
            wandb_project: the project on W&B that gets the run too.
            leads: whether this is the process of the run that writes; the others only have a terminal.

        Raises:
            FileExistsError: there is a metrics.csv and `resume_step` is None.
            UnavailableError: W&B does not take the run.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        options = options or {}
        remote = [WandbRun(run_dir, wandb_project, options)] if leads and wandb_project is not None else []
        files = [CsvFile(run_dir / "metrics.csv", resume_step)] if leads else []
        boards = [TensorBoardFile(run_dir, flat(options), resume_step)] if leads else []
        self._boards = [*boards, *remote]
        self._terminal = Terminal(total_steps, max_minutes, resume_step or 0)
        self._sinks = [*files, *self._boards, self._terminal]

    @classmethod
    def of(cls, config: Config, run_dir: Path, resume_step: int | None = None, leads: bool = True) -> Self:
        """Of a run as `config` says; see the constructor."""
        return cls(
            run_dir,
            total_steps=config.total_steps,
            max_minutes=config.max_minutes,
            resume_step=resume_step,
            options=options_of(config),
            wandb_project=config.log.wandb,
            leads=leads,
        )

    def begin(self) -> None:
        """The first step comes next: what the terminal says of the time left counts from here."""
        self._terminal.begin()

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
        """Show a GIF of that width and height in TensorBoard and on W&B; a row of the same step follows."""
        for board in self._boards:
            board.film(step, tag, gif, size)

    def finish(self, step: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Show final scores, by who played and what was measured, in TensorBoard and on W&B.

        Raises:
            SavingError: they cannot be written.
        """
        known = {name: value for name, value in flat({"final": scores}, "/").items() if isinstance(value, int | float)}
        with saving():
            for board in self._boards:
                board.finish(step, known)

    def say(self, text: str) -> None:
        """Print a line without disturbing the progress display."""
        self._terminal.say(text)

    def close(self) -> None:
        """Close the files and leave the terminal as it was.

        Raises:
            SavingError: what is left cannot be written.
        """
        with saving(), ExitStack() as closing:  # each, whatever becomes of the others
            for sink in self._sinks:
                closing.callback(sink.close)
        self._sinks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def flat(content: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Nested mappings as one, with the names on the way to a value in its name."""
    result: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            result |= {f"{name}{separator}{inner}": each for inner, each in flat(value, separator).items()}
        else:
            result[name] = value
    return result
