"""What a ring keeps, and how many bytes that is, before anything is allocated."""

from __future__ import annotations

import math

import torch

from mjxrl.replay.hindsight import table_layout


def layout(
    num_envs: int,
    obs_size: int,
    action_size: int,
    capacity: int,
    time_limit: int | None,
    hindsight: bool,
    dtype: torch.dtype,
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    if min(num_envs, obs_size, action_size, capacity, time_limit or 1) < 1 or time_limit == 0:
        sizes = f"{num_envs=}, {obs_size=}, {action_size=}, {capacity=} transitions, {time_limit=} steps"
        raise ValueError(f"replay sizes must be positive: {sizes}")
    rows = math.ceil(capacity / num_envs) + 1
    side_rows = math.ceil(rows / time_limit) + 1 if time_limit is not None else 1
    slot = torch.uint8 if side_rows <= 256 else torch.int32
    return {
        "obs": ((rows + side_rows, num_envs, obs_size), dtype),
        "action": ((rows, num_envs, action_size), dtype),
        "reward": ((rows, num_envs), dtype),
        "flags": ((rows, num_envs), torch.uint8),
        "side": ((rows, num_envs), slot),
        "slot": ((num_envs,), slot),
    } | (table_layout(rows, num_envs, time_limit) if hindsight else {})


def replay_bytes(
    num_envs: int,
    obs_size: int,
    action_size: int,
    *,
    capacity: int,
    time_limit: int | None,
    hindsight: bool = False,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Bytes a `Replay` of these sizes takes on its device, exactly, without allocating it."""
    kept = layout(num_envs, obs_size, action_size, capacity, time_limit, hindsight, dtype)
    return sum(math.prod(shape) * kind.itemsize for shape, kind in kept.values())
