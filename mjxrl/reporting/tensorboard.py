"""TensorBoard's event file: the metrics, charts of those that matter most, and what the run was told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# the tab "Custom scalars": groups of charts, and the metrics in each
CHARTS = {
    "return": {
        "return": ["Multiline", ["train/return", "eval/return"]],
        "success": ["Multiline", ["train/success", "eval/success"]],
    },
    "Q": {
        "what the critics say": ["Multiline", ["learner/q", "learner/target_q", "learner/q_bound"]],
        "how far off": ["Multiline", ["learner/td_error"]],
    },
    "temperature": {
        "temperature": ["Multiline", ["learner/temperature"]],
        "entropy": ["Multiline", ["learner/entropy"]],
    },
    "time": {
        "rates": ["Multiline", ["time/env_steps_per_s", "time/updates_per_s"]],
        "seconds by phase": ["Multiline", ["time/act_s", "time/update_s", "time/collect_s"]],
    },
}
COMPARED = "eval/return", "final/trained/mean_return"  # by what the tab "HParams" tells runs apart


class TensorBoardFile:
    """Events of one start of a run; TensorBoard puts those of all starts together.

    Args:
        run_dir: where the file is made.
        options: the run's, by dotted name.
        resume_step: what earlier files hold after this step is dropped.
    """

    def __init__(self, run_dir: Path, options: Mapping[str, Any], resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._hook = threading.excepthook
        threading.excepthook = self._on_thread_error
        self._writer = SummaryWriter(run_dir, purge_step=None if resume_step is None else resume_step + 1)
        self._writer.add_custom_scalars(CHARTS)
        if options and resume_step is None:
            known = {
                name: value if isinstance(value, int | float | str) else str(value) for name, value in options.items()
            }
            for summary in hparams(known, dict.fromkeys(COMPARED)):
                self._add(summary)
        self._writer.flush()

    def log(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """An image, which moves."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined] (made at run time)

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=gif)
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def finish(self, step: int, scores: Mapping[str, float]) -> None:
        """Final scores, by dotted name."""
        self.log(step, scores)

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            threading.excepthook = self._hook

    def _add(self, summary: Any, step: int | None = None) -> None:
        self._writer.file_writer.add_summary(summary, step)  # type: ignore[union-attr] (there is one until close)

    def _on_thread_error(self, args: threading.ExceptHookArgs) -> None:
        """What ends the writer's thread, such as a full disk, is raised by the next call here, and need not be printed
        as well."""
        if not isinstance(args.exc_value, OSError):
            self._hook(args)
