"""What worlds tell of themselves where pictures of them are to be drawn."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from mjxrl.envs.task import Target, Task


class Pose(NamedTuple):
    """What a picture of N worlds depends on; on the host, and nobody else's."""

    arrays: dict[str, np.ndarray]
    """qpos (N, nq), and where MuJoCo simulates mocap_pos (N, nmocap, 3) and mocap_quat (N, nmocap, 4)."""
    target: Target | None
    """Of a task that has one."""


@runtime_checkable
class Drawable(Protocol):
    """Worlds of which pictures can be drawn: of the model of their `task`."""

    task: Task

    def pose(self) -> Pose:
        """Where the worlds are now, which is to say before the next step."""
        ...
