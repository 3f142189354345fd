"""What a logger writes, read back."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mjxrl.reporting.metrics import MetricsLogger


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def logged(run_dir: Path, *steps: tuple[int, Mapping[str, float]], **options: Any) -> list[dict[str, str]]:
    """The rows of metrics.csv after a logger was given those, by step."""
    with MetricsLogger(run_dir, total_steps=100, **options) as logger:
        for step, scalars in steps:
            logger.log(step, scalars)
    return csv_rows(run_dir / "metrics.csv")
