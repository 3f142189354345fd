"""What is saved of a ring, and put back into the same places: rows in use from the oldest on, and of the side region
what they may refer to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mjxrl.errors import MisfitError
from mjxrl.storage.snapshot import Snapshot

RINGS = ("obs", "action", "reward", "flags", "side", "episode")  # T rows each; in "obs" the side region follows


def snapshot(storage: Mapping[str, Tensor], head: int, filled: int) -> Snapshot:
    """What a ring holds now; see `Replay`."""
    rows, slot = len(storage["action"]), storage["slot"]
    side_rows, first = len(storage["obs"]) - rows, (head - filled) % rows
    rings = {name: storage[name][:rows] for name in RINGS if name in storage}
    others = {name: tensor for name, tensor in storage.items() if name not in RINGS}
    # the slots that worlds have left since the oldest transition; waits for the device, as copying to the host does too
    left = int(((slot.long() - storage["side"][first]) % side_rows).max()) if filled else 0
    others["side_obs"] = storage["obs"].flatten(0, 1)[_last_slots(slot, left, rows, side_rows)]
    others |= {"head": torch.tensor(head), "filled": torch.tensor(filled), "size": torch.tensor([rows, side_rows])}
    return Snapshot(rings, first, _counts(rings, filled), others)


def load(storage: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Copy a saved state into `storage`; returns head and fill.

    Raises:
        MisfitError: the state is of a ring of other sizes.
    """
    rows = len(storage["action"])
    side_rows = len(storage["obs"]) - rows
    head, filled = int(state["head"]), int(state["filled"])
    whole = "size" not in state  # of runs begun when all rows were saved, in their places, and the side region with obs
    shapes = {name: tuple(tensor.shape) for name, tensor in storage.items()}
    if not whole:
        size, expected = state["size"].tolist(), [rows, side_rows]
        if size != expected:
            raise MisfitError(f"replay state does not fit: its rows and side rows are {size}, expected {expected}")
        counts = _counts(storage, filled)
        shapes = {name: (counts.get(name, len(storage[name])), *shape[1:]) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        if name not in state or state[name].shape != shape:
            found = tuple(state[name].shape) if name in state else "missing"
            raise MisfitError(f"replay state does not fit: {name!r} is {found}, expected {shape}")
    for name, tensor in storage.items():
        if whole or name not in RINGS:
            tensor.copy_(state[name])
        else:
            first, saved = (head - filled) % rows, state[name]
            ahead = min(len(saved), rows - first)
            tensor[first : first + ahead].copy_(saved[:ahead])
            tensor[: len(saved) - ahead].copy_(saved[ahead:])
    if not whole:
        side = state["side_obs"].to(storage["obs"].device)
        places = _last_slots(storage["slot"], len(side), rows, side_rows)
        storage["obs"].flatten(0, 1).index_copy_(0, places.flatten(), side.flatten(0, 1))
    return head, filled


def _counts(rings: Mapping[str, Tensor], filled: int) -> dict[str, int]:
    """Rows in use; the newest observation has no transition yet."""
    return {name: filled + (name == "obs") for name in rings if name in RINGS}


def _last_slots(slot: Tensor, count: int, rows: int, side_rows: int) -> Tensor:
    """(count, N) flat rows, in the side region, of each world's last `count` slots before the one it writes to."""
    back = torch.arange(1, count + 1, device=slot.device).unsqueeze(1)
    return (rows + (slot.long() - back) % side_rows) * len(slot) + torch.arange(len(slot), device=slot.device)
