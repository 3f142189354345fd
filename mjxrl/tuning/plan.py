"""What a study is to find out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mjxrl.config import Config


@dataclass(frozen=True)
class Plan:
    """Settings to choose, and runs to try them in."""

    folder: Path
    config: Config
    """What the flags say, and the preset for the rest."""
    flags: tuple[str, ...]
    """Of mjxrl-train, for every run."""
    names: tuple[str, ...]
    """The settings to choose."""
    minutes: float
    """Of training, for each run."""
    seeds: tuple[int, ...]
    trials: int
    """In all, those of earlier starts included."""

    def described(self) -> dict[str, Any]:
        """What must not change while a study goes on."""
        return {"flags": [*self.flags], "names": [*self.names], "minutes": self.minutes, "seeds": [*self.seeds]}
