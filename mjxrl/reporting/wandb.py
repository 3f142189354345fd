"""A run on Weights & Biases, or in its offline files."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mjxrl.errors import UnavailableError


class WandbRun:
    """Sends what is logged to W&B; `WANDB_MODE=offline` keeps it in the run's folder, for `wandb sync`.

    A resumed run goes on under the same id, which is kept in `wandb/id`. Rows that it writes once more are left as they
    are there, since W&B takes none back.

    Args:
        run_dir: the run's folder; its name is the run's on W&B.
        project: W&B's.
        options: the run's, as `config` there.

    Raises:
        UnavailableError: W&B does not take the run.
    """

    def __init__(self, run_dir: Path, project: str, options: Mapping[str, Any]) -> None:
        import wandb

        known = run_dir / "wandb" / "id"
        if not known.exists():
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(secrets.token_hex(4), encoding="utf-8")
        try:
            self._run = wandb.init(
                project=project,
                name=run_dir.absolute().name,
                id=known.read_text(encoding="utf-8"),
                resume="allow",
                dir=run_dir,
                config=dict(options),
                settings=wandb.Settings(console="off"),  # the terminal stays ours
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise UnavailableError(
                f"--log.wandb {project}: allowed: after `wandb login`, or with WANDB_MODE=offline: {reason}"
            ) from None

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=step, commit=True)

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """Goes with the next row, of the same step."""
        import wandb

        self._run.log({tag: wandb.Video(io.BytesIO(gif), format="gif")}, step=step, commit=False)

    def finish(self, step: int, scores: Mapping[str, float]) -> None:
        """Final scores, by dotted name."""
        self._run.summary.update(dict(scores))

    def close(self) -> None:
        """While an error goes up the run is a failed one."""
        self._run.finish(exit_code=0 if sys.exc_info()[0] is None else 1)
