"""End to end: iterations of `Trainer.run` itself, beside physics and learner alone on the very same objects."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mjxrl.config.presets import merged
from mjxrl.machine import threads
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.measurement.kernels import profiled
from mjxrl.measurement.setting import Setting, fill
from mjxrl.measurement.timing import Contestant, calls_in, rates, ratios, sample, timed
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.training.launch import make_worlds
from mjxrl.training.stopping import Stop
from mjxrl.training.trainer import Trainer

PROFILED = 8  # iterations

# nothing but iterations and their log lines; the replay is filled before the first one
UNDISTURBED = {
    "total_steps": 10**15,
    "learner": {"warmup_steps": 0},
    "eval": {"every": 0},
    "checkpoint": {"every": 0, "replay": False},
}


class Script(Stop):
    """A `Stop` by which a generator drives `Trainer.run`: each `yield` is an iteration, its end the run's."""

    def __init__(self, steps: Iterator[None]) -> None:
        super().__init__()
        self._steps = steps

    def __bool__(self) -> bool:
        return next(self._steps, self) is self


def run_trainer(setting: Setting, script: Callable[[Trainer], Iterator[None]], ranks: Ranks = ALONE) -> None:
    """Run the trainer, with a full replay, under the control of `script`; what it writes is thrown away. Of several
    `ranks` all do so, with scripts of the same length."""
    config = merged(setting.config, UNDISTURBED)
    with tempfile.TemporaryDirectory(prefix="mjxrl-benchmark-") as folder:
        path = Path(ranks.from_first(folder))
        trainer = Trainer(*make_worlds(config, setting.machine, ranks), config, path, ranks)

        def filled() -> Iterator[None]:
            fill(trainer.session.replay)
            yield from script(trainer)

        with MetricsLogger(path, total_steps=config.total_steps, max_minutes=None, leads=ranks.leads) as logger:
            trainer.run(logger, Script(filled()))


def measure(setting: Setting) -> dict[str, Any]:
    """Iteration time and its parts; rates; on a GPU the host's time and the share of an iteration without a kernel."""
    times: dict[str, list[float]] = {"iteration": [], "cpu": [], "host": []}
    idle: dict[str, float] = {}

    def script(trainer: Trainer) -> Iterator[None]:
        parts = alone(setting, trainer)
        times.update({name: [] for name in parts})
        calls = {}
        for name, part in parts.items():
            timed(part, 1, setting.synchronize)
            calls[name] = calls_in(setting.seconds, timed(part, 1, setting.synchronize))
        yield
        yield
        started = _now(setting)
        yield
        iterations = calls_in(setting.seconds, _now(setting) - started)
        for _ in range(setting.repeats):
            started, cpu = _now(setting), time.process_time()
            for _ in range(iterations):
                yield
            times["iteration"].append((_now(setting) - started) / iterations)
            times["cpu"].append((time.process_time() - cpu) / iterations)
            started = _now(setting)
            yield
            times["host"].append(time.perf_counter() - started)  # the device may still be at work
            for name, part in parts.items():
                times[name].append(timed(part, calls[name], setting.synchronize))
        if setting.device.type == "cuda":
            with profiled(PROFILED) as found:
                for _ in range(PROFILED):
                    yield
                setting.synchronize()
            idle.update(found)

    run_trainer(setting, script)
    return _report(setting, times, idle)


def alone(setting: Setting, trainer: Trainer) -> dict[str, Contestant]:
    """The two halves of an iteration by themselves and, on a CPU, both ways of combining them, nothing else in it."""
    env, session, updates = trainer.worlds, trainer.session, setting.config.learner.updates_per_step
    action = torch.rand(setting.config.num_envs, env.action_size, device=setting.device) * 2 - 1

    def learn() -> None:
        session.learner.update(session.replay, updates, session.generator)

    parts: dict[str, Callable[[], object]] = {"physics": lambda: env.step(action), "learner": learn}
    if setting.device.type == "cpu":
        cores = threads.available_cores()
        everywhere = setting.env(threads=cores) if setting.backend == "native" else env  # XLA takes all cores anyway
        everywhere.reset()

        def in_turn() -> None:
            everywhere.step(action)
            torch.set_num_threads(cores)
            learn()
            torch.set_num_threads(setting.machine.threads.learner)

        def side_by_side() -> None:
            env.dispatch(action)
            learn()
            env.collect()

        parts |= {"in_turn": in_turn, "side_by_side": side_by_side}
    return {name: Contestant(call) for name, call in parts.items()}


def _now(setting: Setting) -> float:
    setting.synchronize()
    return time.perf_counter()


def _report(setting: Setting, times: dict[str, list[float]], idle: dict[str, float]) -> dict[str, Any]:
    worlds, updates = setting.config.num_envs, setting.config.learner.updates_per_step
    iteration, physics, learner = times["iteration"], times["physics"], times["learner"]
    longer = [max(pair) for pair in zip(physics, learner, strict=True)]
    both = [sum(pair) for pair in zip(physics, learner, strict=True)]
    report: dict[str, Any] = {
        "env_steps_per_s": rates(iteration, worlds),
        "updates_per_s": rates(iteration, updates),
        "iteration_s": sample(iteration),
        "physics_s": sample(physics),
        "learner_s": sample(learner),
        "against_longer_half": ratios(iteration, longer),
        "against_sum": ratios(iteration, both),
        "processor_s": sample(times["cpu"]),
    }
    if setting.device.type == "cuda":
        return report | {"host_s": sample(times["host"]), **idle}
    better = [min(pair) for pair in zip(times["in_turn"], times["side_by_side"], strict=True)]
    return report | {
        "in_turn_s": sample(times["in_turn"]),
        "side_by_side_s": sample(times["side_by_side"]),
        "against_better_of_both": ratios(iteration, better),
    }
