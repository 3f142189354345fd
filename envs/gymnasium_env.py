"""What a run may be told of an environment that Gymnasium steps, and that is no task of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class GymnasiumEnv:
    """An environment that Gymnasium steps, in the place of a task; each has a class of its own, which names it."""

    gymnasium_id: ClassVar[str]
    gymnasium_keywords: ClassVar[dict[str, Any]] = {}
    max_episode_steps: ClassVar[None] = None  # any of them may truncate at any step
    goals: ClassVar[None] = None

    vector: Literal["async", "sync"] = "async"
    """How Gymnasium steps them: async, each in a process of its own, or sync, one after the other in the trainer's."""

    def from_gymnasium(self, obs: Any) -> Any:
        """The observation as the policy reads it."""
        return obs
