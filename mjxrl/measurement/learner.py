"""The learner alone: updates/s, and how much of the device they use.

Two yardsticks are measured between the repeats: a large square matrix product in the learner's precision, and a large
copy. The replay is full, so that sampling reads all of its memory.
"""

from __future__ import annotations

from typing import Any

import torch

from mjxrl.learners import make_learner
from mjxrl.learners.graphs import MOST
from mjxrl.measurement import flops
from mjxrl.measurement.setting import Setting
from mjxrl.measurement.timing import Contestant, interleaved, rates, ratios, sample
from mjxrl.replay import Replay

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the square matrices
COPY = {"cpu": 2**28, "cuda": 2**29}  # bytes, far more than caches hold


def measure(setting: Setting) -> dict[str, Any]:
    """Updates/s, FLOP/s and bytes/s, the latter two also as shares of what the device was measured to do."""
    config, device = setting.config, setting.device
    updates = config.learner.updates_per_step
    learner, replay = make_learner(config, *setting.sizes, device), setting.replay()
    generator = torch.Generator(device).manual_seed(0)
    learner.warm_up(replay)
    dtype = torch.bfloat16 if config.learner.bf16 else torch.float32
    side, copied = MATRIX[device.type], COPY[device.type]
    matrix, product = (
        torch.randn(side, side, device=device).to(dtype),
        torch.empty(side, side, device=device, dtype=dtype),
    )
    source, target = (torch.ones(copied // 4, device=device) for _ in range(2))

    contestants = {
        "update": Contestant(lambda: learner.update(replay, updates, generator)),
        "sample": Contestant(lambda: read_batches(setting, replay, generator)),
        "matmul": Contestant(lambda: torch.mm(matrix, matrix, out=product)),
        "copy": Contestant(lambda: target.copy_(source)),
    }
    times = interleaved(contestants, setting.repeats, setting.seconds, setting.synchronize)
    flop, moved = flops.per_update(config, *setting.sizes), bytes_sampled(setting, replay, generator)
    flop_rate, matmul_rate = rates(times["update"], updates * flop), rates(times["matmul"], 2 * side**3)
    sampled_rate, copy_rate = rates(times["sample"], updates * moved), rates(times["copy"], 2 * copied)
    return {
        "updates_per_s": rates(times["update"], updates),
        "update_s": sample(t / updates for t in times["update"]),
        "flop_per_update": flop,
        "flop_per_s": flop_rate,
        "matmul_flop_per_s": matmul_rate,
        "matmul_dtype": str(dtype).removeprefix("torch."),
        "share_of_matmul": ratios(flop_rate["repeats"], matmul_rate["repeats"]),
        "sample_s": sample(t / updates for t in times["sample"]),
        "sampling_share_of_update": ratios(times["sample"], times["update"]),
        "bytes_sampled_per_update": moved,
        "sampled_bytes_per_s": sampled_rate,
        "copy_bytes_per_s": copy_rate,
        "share_of_bandwidth": ratios(sampled_rate["repeats"], copy_rate["repeats"]),
    }


def read_batches(setting: Setting, replay: Replay, generator: torch.Generator) -> None:
    """Sample as `Learner.update` does: indices of all updates at once, then the batches of some of them."""
    settings = setting.config.learner
    indices = replay.draw(settings.updates_per_step, settings.batch_size, generator)
    for start in range(0, settings.updates_per_step, MOST):
        replay.gather(indices[start : start + MOST], settings.n_step, settings.gamma)


def bytes_sampled(setting: Setting, replay: Replay, generator: torch.Generator) -> int:
    """Bytes of one batch, counted twice: read from the ring, written to the batch."""
    settings = setting.config.learner
    batch = replay.gather(replay.draw(1, settings.batch_size, generator)[0], settings.n_step, settings.gamma)
    return 2 * sum(tensor.nbytes for tensor in batch)
