"""Whether a run fits into memory, told before anything is allocated or compiled, and again before the first step.

The replay and Warp's arrays are counted exactly, the rest by rules that err on the large side; once a step of MJX is
compiled, XLA's account of it takes the place of the rule. There are two places: the RAM, and with a GPU its memory too.
Checkpoints read the replay where it is and keep the rows that are overwritten meanwhile (`mjxrl.storage.snapshot`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mjxrl.config import Config
from mjxrl.errors import MemoryProblem
from mjxrl.machine import torchrun
from mjxrl.networks.spec import actor_spec, critic_spec

GIB = 2**30
LIBRARIES = {"cpu": 0.5 * GIB, "cuda": 1.0 * GIB}  # code, and on a GPU the contexts of torch and jax
SAVING = (
    0.1  # of a replay, while it is written: the snapshots' limit; 0.02 measured by tests/helpers/checkpoint_cost.py
)
PROCESS = 0.1 * GIB  # of an environment of Gymnasium's, beyond what it shares with the trainer's
SCRATCH = 8  # MJX: state and temporaries of a program, in states; 2 as XLA's analysis has it on the CPU


class Need(NamedTuple):
    """What a run takes in one place."""

    parts: dict[str, float]
    """Bytes of everything but the replay."""
    replays: float
    """How many times the replay is there."""


class Room(NamedTuple):
    """What there was before the run took anything."""

    free: dict[str, float]
    """Free bytes of each place."""
    jax_share: float | None
    """The share of the GPU's memory that jax may take; None if it uses none."""


def check(config: Config, backend: str, device: str) -> Room:
    """Refuse a run that cannot fit; returns what there is for one that can.

    Args:
        backend, device: as resolved.

    Raises:
        MemoryProblem: it does not fit; the message says what it takes, what is free and what would fit.
    """
    needs = estimate(config, backend, device)
    free = {place: free_bytes(place) for place in needs}
    for place, need in needs.items():
        problem = misfit(config, place, need, free[place])
        if problem:
            raise MemoryProblem(problem)
    if device != "cuda" or backend != "jax":
        return Room(free, None)
    need = needs["cuda"]
    return Room(free, jax_share(need.parts["physics"], total(config, need), free["cuda"], gpu_bytes()))


def check_program(config: Config, backend: str, device: str, room: Room, program: int | None) -> None:
    """Refuse a run whose compiled step takes more than there is for it.

    Args:
        backend, device: as resolved.
        room: what `check` gave. Free memory is not looked at again: by now part of what the run takes is taken.
        program: bytes, as `VectorEnv.program_bytes` gives them; None: the estimate has to do.

    Raises:
        MemoryProblem: it does not fit; the message says what it takes, what is free and what would fit.
    """
    if program is None:
        return
    need = estimate(config, backend, device)[device]
    estimated, need.parts["physics"] = need.parts["physics"], program
    problem = misfit(config, device, need, room.free[device])
    if problem is None and device == "cuda" and program > (share := jax_bytes()):
        takes = f"the step program takes {program / GIB:.2f} GiB and jax's share of the GPU is {share / GIB:.2f} GiB"
        need.parts["physics"] += program - estimated  # of what a smaller replay leaves, jax gets half: see `jax_share`
        problem = refusal(config, need, room.free[device], takes)
    if problem:
        raise MemoryProblem(problem)


def misfit(config: Config, place: str, need: Need, free: float) -> str | None:
    """One line on what does not fit, or None."""
    wanted = total(config, need)
    if wanted <= free:
        return None
    parts = {"replay": need.replays * replay_size(config, config.replay.capacity), **need.parts}
    listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items() if size >= 0.005 * GIB)
    where = "the GPU" if place == "cuda" else "this machine"
    takes = f"the run takes {wanted / GIB:.2f} GiB ({listed}) and {free / GIB:.2f} GiB are free on {where}"
    return refusal(config, need, free, takes)


def refusal(config: Config, need: Need, free: float, takes: str) -> str:
    """One line on the largest replay that fits, or on the worlds if none does; `takes` says what is wrong."""
    room, worlds = free - sum(need.parts.values()), config.num_envs
    rows = range(1, math.ceil(config.replay.capacity / worlds) + 1)
    fitting = bisect_right(rows, room, key=lambda n: need.replays * replay_size(config, n * worlds)) * worlds
    least = max(config.learner.batch_size, (config.learner.n_step + 1) * worlds)
    if not least <= fitting < config.replay.capacity:
        return f"--num-envs {worlds}: allowed: fewer, with a smaller --replay.capacity: {takes}"
    return f"--replay.capacity {config.replay.capacity}: allowed: at most {fitting} here: {takes}"


def estimate(config: Config, backend: str, device: str) -> dict[str, Need]:
    """What this process of the run takes in each place, "cpu" and with a GPU "cuda"."""
    physics_place = device if backend in ("jax", "warp") else "cpu"
    parts = {place: {"libraries": LIBRARIES[place]} for place in {"cpu", device}}
    share = config.share(torchrun.place().size)
    parts[device]["learner"] = learner_bytes(share)
    parts[physics_place]["physics"] = physics_bytes(share, backend, device)
    replays = dict.fromkeys(parts, 0.0) | {device: 1.0 + SAVING * config.checkpoint.replay}
    return {place: Need(content, replays[place]) for place, content in parts.items()}


def total(config: Config, need: Need) -> float:
    """Bytes of everything."""
    return sum(need.parts.values()) + need.replays * replay_size(config, config.replay.capacity)


def replay_size(config: Config, capacity: int) -> int:
    """Bytes of this process's share of a replay for `capacity` transitions, exactly."""
    from mjxrl.replay import replay_bytes

    obs_size, action_size = widths(config)
    limit, hindsight = config.task.max_episode_steps or 1, config.relabelled > 0
    ranks = torchrun.place().size
    sizes = config.num_envs // ranks, obs_size, action_size
    return replay_bytes(*sizes, capacity=math.ceil(capacity / ranks), time_limit=limit, hindsight=hindsight)


def learner_bytes(config: Config) -> float:
    """Networks with targets, gradients and moments; the activations of an update; the batches of all that are read at
    once; the draws of K updates."""
    from mjxrl.learners.graphs import MOST

    (obs_size, action_size), settings = widths(config), config.learner
    actor, critics = actor_spec(config, obs_size, action_size), critic_spec(config, obs_size, action_size)
    batch = settings.batch_size
    kept = 10 if settings.critic_norm == "batch" else 5  # of each unit: both ways, online and target
    acted = 10 if settings.actor_norm == "batch" else 5
    update = batch * (acted * actor.units + kept * critics.units)
    read = (
        3 * min(MOST, settings.updates_per_step) * batch * (2 * obs_size + action_size)
    )  # as it is, masked, normalised
    draws = settings.updates_per_step * batch * (2 * action_size + 16)
    acting = config.num_envs * (actor.units + 4 * obs_size)
    return 4.0 * (6 * actor.parameters + 5 * critics.parameters + update + read + draws + acting)


def physics_bytes(config: Config, backend: str, device: str) -> float:
    """The simulator's worlds: processes of Gymnasium's; state rows in C; Warp's arrays, exactly; on MJX the state, its
    contacts, and the program's temporaries."""
    if backend == "gymnasium":
        return PROCESS * (config.num_envs + config.eval.episodes) if config.task.vector == "async" else PROCESS
    model = config.task.model
    if backend == "native":
        return 8.0 * config.num_envs * (3 * (model.nq + model.nv) + 40 * model.nbody)
    if backend == "warp" and not config.task.analytic:
        from mjxrl.physics.warp import WarpPhysics

        return float(WarpPhysics(config.task, config.num_envs, config.physics, device).nbytes)
    cap = config.physics.max_contacts or config.task.max_contacts or math.inf
    contacts = 2 * min(cap, _pairs(model.geom_contype, model.geom_conaffinity))
    rows = 4 * contacts + model.njnt + model.nu  # of constraints: friction pyramids and limits
    floats = rows * (model.nv + 13) + 40 * contacts + 4 * model.nv**2 + 120 * model.nbody + 30 * model.ngeom
    return 4.0 * config.num_envs * floats * SCRATCH


def jax_share(physics: float, wanted: float, free: float, total: float) -> float:
    """The share of a GPU's memory that jax may take: what physics needs, and half of what nobody does."""
    return min(0.95, max(0.02, (physics + (free - wanted) / 2) / total))


def widths(config: Config) -> tuple[int, int]:
    """Widths O and A of observations and actions."""
    from mjxrl.adapters.chosen import sizes

    obs_size, low, _ = sizes(config.task)
    return obs_size, len(low)


def free_bytes(place: str) -> float:
    """Bytes that this process may still take, of the GPU or of the RAM, where a container's limit counts too; the run's
    other processes on this machine have the same share."""
    if place == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    everybodys = min([_available_ram(), *_group_limits(Path("/sys/fs/cgroup"), _own_groups())])
    return everybodys / torchrun.place().local_size


def gpu_bytes() -> float:
    """Bytes of the GPU's memory, free or not."""
    import torch

    return float(torch.cuda.mem_get_info()[1])


def jax_bytes() -> float:
    """Bytes of the GPU's memory that jax may take: the share that `check` gave it, unless the user's setting won."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}  # some of XLA's allocators keep none
    return float(stats.get("bytes_limit", math.inf))


def _available_ram() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf  # not Linux: nobody says


def _own_groups() -> list[str]:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.rpartition(":")[2].strip("/") for line in lines]


def _group_limits(root: Path, groups: list[str]) -> Iterator[float]:
    """What is left under the memory limit of each control group around this process (cgroup v2, then v1)."""
    for group in groups:
        for folder in (root / group, *(root / group).parents):
            if folder.is_relative_to(root):
                yield from _left(folder, "memory.max", "memory.current", "inactive_file")
    v1 = root / "memory"
    yield from _left(v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(folder: Path, limit: str, used: str, cache: str) -> Iterator[float]:
    try:
        most, now = (float((folder / file).read_text(encoding="utf-8")) for file in (limit, used))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return
    yield most - now + float(stat.get(cache, 0))  # the kernel gives up cached files first


def _pairs(contype: np.ndarray, conaffinity: np.ndarray) -> int:
    """Pairs of geoms that may touch."""
    touch = contype[:, None] & conaffinity
    return int(np.triu(touch | touch.T, 1).astype(bool).sum())
