"""What `--backend auto` means: a table by device, number of worlds and task, whose rows name their source.

Nothing that is timed during a run decides anything in it. `benchmarks/gpu.py` measures what the rows of a GPU ought to
follow; until it has, they follow from programs that were compiled for one and not run.
"""

from __future__ import annotations

from typing import NamedTuple

ANY = "any task"


class Row(NamedTuple):
    """One line of the table."""

    device: str
    """cpu or cuda."""
    num_envs: int
    """For this many worlds or more."""
    env: str
    """For the task of this id, or `ANY`."""
    backend: str
    why: str
    source: str
    """The raw file or the publication that says so."""

    @property
    def reason(self) -> str:
        """In words, for people."""
        return f"{self.why}; {self.source}"


def _compiled(env: str) -> str:
    return f"measured ahead of time: benchmarks/results/aot-h200-not-run-{env}.json"


# the first row that fits decides
TABLE = (
    Row(
        device="cpu",
        num_envs=1,
        env=ANY,
        backend="native",
        why="on a CPU, MuJoCo in C is about 20 times as fast as MJX",
        source="benchmarks/results/speed-cheetah-jax.json beside native_stepping_HalfCheetah-v5.json",
    ),
    Row(
        device="cuda",
        num_envs=256,
        env="HalfCheetah-v5",
        backend="jax",
        why="MJX steps all worlds in one launch, not yet timed beside C and Warp",
        source=_compiled("HalfCheetah-v5"),
    ),
    Row(
        device="cuda",
        num_envs=256,
        env=ANY,
        backend="jax",
        why="MJX steps all worlds in one launch, not yet timed beside C and Warp",
        source=_compiled("Ant-v5"),
    ),
    Row(
        device="cuda",
        num_envs=1,
        env=ANY,
        backend="native",
        why="few worlds leave the thousands of kernels of MJX's step idle, and C has nothing to compile",
        source=_compiled("Ant-v5"),
    ),
)


def row(device: str, num_envs: int, env: str) -> Row:
    """The row that decides for so many worlds of the task of this id; for less than one, which others refuse, too."""
    fitting = (r for r in TABLE if r.device == device and r.num_envs <= max(1, num_envs) and r.env in (env, ANY))
    return next(fitting)
