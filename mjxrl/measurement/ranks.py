"""Several processes that train as one, beside as many separate runs: what the sums between them cost.

Every process makes the same iterations, of its share of the run that is asked for, in three ways that take turns: alone
while the others wait, at once with the others as runs of their own, and as one of the run's ranks. The second is the
control: cores, caches and memory are as busy as in the third, and nobody sums anything. Processor time can be read
on a busy machine too, wall-clock time on a quiet one only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from mjxrl.config import Algorithm, Config
from mjxrl.config.presets import default_config, merged
from mjxrl.config.schema import Preset
from mjxrl.machine.ranks import ALONE, Ranks, joined
from mjxrl.measurement.end_to_end import run_trainer
from mjxrl.measurement.setting import Setting, set_up
from mjxrl.measurement.timing import calls_in, ratios, sample
from mjxrl.networks.spec import actor_spec, critic_spec
from mjxrl.training import meeting
from mjxrl.training.trainer import Trainer

WAYS = "single", "separate", "together"
UNLOGGED = {"log": {"every": 10**15}}  # log lines, which check for drift, are rare in a run
OF_A_BUCKET = 0.1  # of a repeat's length: there are some dozen of them

Measured = dict[str, float]


def measure(config: Config, repeats: int, seconds: float) -> dict[str, Any]:
    """Of this process's run, which the others measure with it: iterations in three ways, and sums of the presets'
    gradients. What all found, on the first one; nothing on the others.

    Raises:
        Refusal: one of the processes cannot do what is asked for.
        PeerError: one has ended.
    """
    with joined() as ranks:
        with ranks.together():
            setting = set_up(merged(config, UNLOGGED), repeats, seconds)
        meeting.confirm_alike(ranks, config, setting.machine)
        ranks.connect(setting.machine.device)
        share = replace(setting, config=setting.config.share(ranks.size))
        first = _iterations(share, ALONE, 1)
        count = ranks.from_first(calls_in(seconds, first["iteration_s"]))
        found: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way in WAYS:
                ranks.gathered(None)  # nobody is at work any more, and all begin at once
                if way == "together":
                    own = _iterations(setting, ranks, count)
                elif way == "separate" or ranks.leads:
                    own = _iterations(share, ALONE, count)
                else:
                    own = None
                found[way].append(_mean([each for each in ranks.gathered(own) if each is not None]))
        sums = _buckets(setting, ranks)
    return _report(share, ranks.size, count, found, sums) if ranks.leads else {}


def buckets(config: Config, obs_size: int, action_size: int) -> dict[str, int]:
    """How many numbers the ranks sum in one go, of each step's gradients: as many as parameters, and their weight."""
    actor = actor_spec(config, obs_size, action_size).parameters
    temperature = int(config.algo == "sac" and config.sac.auto_temperature)
    return {"critics": critic_spec(config, obs_size, action_size).parameters + 1, "policy": actor + temperature + 1}


def _iterations(setting: Setting, ranks: Ranks, count: int) -> Measured:
    """Means of some of `Trainer.run`'s iterations, with a full replay, after two more."""
    found: Measured = {}

    def script(trainer: Trainer) -> Iterator[None]:
        yield
        yield
        with _watched(ranks, setting) as sums:
            setting.synchronize()
            started, processor = time.perf_counter(), time.process_time()
            for _ in range(count):
                yield
            setting.synchronize()
            found["iteration_s"] = (time.perf_counter() - started) / count
            found["processor_s"] = (time.process_time() - processor) / count
        found.update({name: value / count for name, value in sums.items()})

    run_trainer(setting, script, ranks)
    return found


@contextmanager
def _watched(ranks: Ranks, setting: Setting) -> Iterator[Measured]:
    """What the sums of tensors take while the block runs, those of gradients and of statistics: waiting for the others
    is part of it. On a GPU the device's time, elsewhere the host's."""
    on_gpu, found, spans = setting.device.type == "cuda", dict[str, float](), []
    if ranks.size == 1:
        yield found
        return
    found |= {"sums_s": 0.0, "sums_processor_s": 0.0, "sums": 0.0, "bytes": 0.0}
    plain = ranks.sum

    def watched(tensor: Tensor) -> Tensor:
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_gpu else []
        started, processor = time.perf_counter(), time.process_time()
        for end in ends[:1]:
            end.record()
        plain(tensor)
        for end in ends[1:]:
            end.record()
            spans.append(ends)
        found["sums_s"] += 0.0 if on_gpu else time.perf_counter() - started
        found["sums_processor_s"] += time.process_time() - processor
        found["sums"] += 1
        found["bytes"] += tensor.nbytes
        return tensor

    ranks.sum = watched
    try:
        yield found
    finally:
        del ranks.sum
    found["sums_s"] += sum(begin.elapsed_time(end) for begin, end in spans) / 1e3


def _buckets(setting: Setting, ranks: Ranks) -> list[dict[str, Any]]:
    """Sums over ranks of as many numbers as each preset's gradients have, for the task at hand."""
    config, rows = setting.config, []
    for preset in get_args(Preset):
        for algo in get_args(Algorithm) if preset != "auto" else ():
            its = replace(default_config(config.env, algo, preset=preset, device="cpu"), task=config.task)
            sizes = buckets(its, *setting.sizes)
            rows += [{"preset": preset, "algo": algo, "of": of, "numbers": sizes[of]} for of in sizes]
    times = {numbers: _sum_times(numbers, setting, ranks) for numbers in sorted({row["numbers"] for row in rows})}
    return [{**row, "bytes": 4 * row["numbers"], **times[row["numbers"]]} for row in rows]


def _sum_times(numbers: int, setting: Setting, ranks: Ranks) -> dict[str, Any]:
    """Seconds of a sum, and of the processor in this process; means over the ranks."""
    tensor = torch.zeros(numbers, device=setting.device)

    def timed(calls: int) -> tuple[float, float]:
        ranks.gathered(None)
        setting.synchronize()
        started, processor = time.perf_counter(), time.process_time()
        for _ in range(calls):
            ranks.sum(tensor)
        setting.synchronize()
        return (time.perf_counter() - started) / calls, (time.process_time() - processor) / calls

    timed(1)
    calls = ranks.from_first(calls_in(OF_A_BUCKET * setting.seconds, timed(2)[0]))
    repeats = [ranks.gathered(timed(calls)) for _ in range(setting.repeats)]
    both = [[sum(own) / ranks.size for own in zip(*repeat, strict=True)] for repeat in repeats]
    return {"sum_s": sample(wall for wall, _ in both), "processor_s": sample(processor for _, processor in both)}


def _mean(rows: Sequence[Measured]) -> Measured:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _report(
    share: Setting, size: int, count: int, found: dict[str, list[Measured]], sums: list[dict[str, Any]]
) -> dict[str, Any]:
    config = share.config
    of = {way: {name: [row[name] for row in rows] for name in rows[0]} for way, rows in found.items()}
    together, separate, single = of["together"], of["separate"], of["single"]
    return {
        "size": size,
        "num_envs": config.num_envs,
        "batch_size": config.learner.batch_size,
        "updates_per_step": config.learner.updates_per_step,
        "preset": config.preset,
        "backend": share.backend,
        "threads": share.machine.threads._asdict(),
        "iterations": count,
        **{way: {name: sample(values) for name, values in rows.items()} for way, rows in of.items()},
        "weak_scaling_by_processor_time": ratios(separate["processor_s"], together["processor_s"]),
        "weak_scaling_by_time": ratios(separate["iteration_s"], together["iteration_s"]),
        "separate_against_single_by_time": ratios(single["iteration_s"], separate["iteration_s"]),
        "share_in_sums": ratios(together["sums_s"], together["iteration_s"]),
        "share_of_processor_time_in_sums": ratios(together["sums_processor_s"], together["processor_s"]),
        "all_reduce": sums,
    }
