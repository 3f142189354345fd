"""What another process costs the learner's updates, by how long OpenMP's threads spin before they sleep.

    python benchmarks/busy_machine.py --json benchmarks/results/busy_machine.json

Every setting has a process of its own, which makes updates when told to and sleeps meanwhile; they take turns, alone
and beside as many endless loops as there are cores, so that a drift of the machine meets all of them. On a machine that
has other work, `--alone` (root, Linux) gives turns the cores nearly to themselves: quiet ones in the real-time class,
busy ones, with their loops, in a group of processes of the highest weight.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from mjxrl.machine import devices, versions

LEARNERS: dict[str, tuple[str, str, dict[str, Any]]] = {  # algorithm, preset, and what is otherwise
    "sac": ("sac", "paper", {"actor_hidden": (256, 256), "critic_hidden": (256, 256)}),
    "td3": ("td3", "laptop", {}),
    "laptop": ("sac", "laptop", {}),
}
SPIN = "spin "  # then the count


@dataclass(frozen=True)
class Options:
    settings: tuple[str, ...] = (
        "default",
        "spin 100000",
        "spin 30000",
        "spin 10000",
        "spin 3000",
        "passive",
        "1 thread",
    )
    """default, "spin N" (GOMP_SPINCOUNT), passive (OMP_WAIT_POLICY) or "1 thread"."""
    learners: tuple[str, ...] = tuple(LEARNERS)
    """sac (256x256), td3 and laptop (preset laptop's TD3 and SAC: 128x128, compiled)."""
    rounds: int = 5
    """Turns of each setting, in either condition."""
    seconds: float = 2.0
    """Of a turn."""
    loops: int = 0
    """Endless loops beside it when busy; 0: as many as cores."""
    alone: bool = False
    """Push other work of the machine aside while turns last."""
    worker: str = ""
    """Of a process that this script starts: its learner."""
    json: Path | None = None
    """Write the raw figures here."""


def main(options: Options) -> None:
    cores = len(os.sched_getaffinity(0))
    report: dict[str, Any] = {
        "device": devices.device_name("cpu"),
        "cores": cores,
        "loops": options.loops or cores,
        "alone": options.alone,
        "load_average_before": os.getloadavg(),
        "versions": versions.versions(),
        "updates_per_s": {},
    }
    for learner in options.learners:
        report["updates_per_s"][learner] = measured(learner, options, cores)
    report["load_average_after"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report["updates_per_s"]))


def measured(learner: str, options: Options, cores: int) -> dict[str, dict[str, list[float]]]:
    """Updates/s of every turn, by setting and condition."""
    rates: dict[str, dict[str, list[float]]] = {name: {"quiet": [], "busy": []} for name in options.settings}
    with ExitStack() as opened:
        workers = {name: opened.enter_context(started(learner, name)) for name in options.settings}
        for worker in workers.values():
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        for _ in range(options.rounds):
            for condition in ("quiet", "busy"):
                loops = options.loops or cores
                beside = [loop() for _ in range(loops if condition == "busy" else 0)]
                for name, worker in workers.items():
                    if options.alone:
                        push(worker, quiet=condition == "quiet")
                    rates[name][condition].append(turn(worker, options.seconds))
                for process in beside:
                    process.kill()
                    process.wait()
    return rates


def push(worker: subprocess.Popen[str], *, quiet: bool) -> None:
    """Other work aside."""
    Path("/proc/self/autogroup").write_text("-19")
    policy, priority = ("--rr", "1") if quiet else ("--other", "0")
    subprocess.run(["chrt", "--all-tasks", policy, "--pid", priority, str(worker.pid)], check=True)


def started(learner: str, setting: str) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    if setting.startswith(SPIN):
        environment["GOMP_SPINCOUNT"] = setting.removeprefix(SPIN)
    elif setting == "passive":
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    elif setting == "1 thread":
        environment["OMP_NUM_THREADS"] = "1"
    argv = [sys.executable, __file__, "--worker", learner]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, text=True)


def loop() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


def turn(worker: subprocess.Popen[str], seconds: float) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    print(seconds, file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def work(learner: str) -> None:
    """Make updates for as many seconds as each line says, and print their rate; ends with the input."""
    import torch

    from mjxrl.config.presets import default_config, merged
    from mjxrl.learners import make_learner
    from mjxrl.replay import Replay
    from mjxrl.worlds.worlds import StepResult

    obs_size, action_size, worlds, no = 17, 6, 8, torch.zeros(8, dtype=torch.bool)
    algo, preset, row = LEARNERS[learner]
    config = merged(default_config("Walker2d-v5", algo, device="cpu", preset=preset), {"learner": row})
    made, generator = make_learner(config, obs_size, action_size, "cpu"), torch.Generator().manual_seed(0)
    replay = Replay(worlds, obs_size, action_size, capacity=16_000, time_limit=1000, device="cpu")
    replay.start(torch.randn(worlds, obs_size))
    for _ in range(2000):
        obs = torch.randn(worlds, obs_size)
        replay.append(torch.rand(worlds, action_size) * 2 - 1, StepResult(obs, torch.randn(worlds), no, no, obs))
    made.warm_up(replay)
    made.update(replay, 8, generator)
    print("ready", flush=True)
    for line in sys.stdin:
        count, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < float(line):
            made.update(replay, 8, generator)
            count += 8
        print(count / elapsed, flush=True)


def table(report: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Medians over turns; shares turn by turn, quiet ones of the first setting's and busy ones of the quiet ones."""
    lines = ["| learner | setting | quiet | of the first | busy | of its quiet rate |", "|---|---|---|---|---|---|"]
    for learner, settings in report.items():
        first = next(iter(settings.values()))["quiet"]
        for name, rates in settings.items():
            quiet, busy = rates["quiet"], rates["busy"]
            shares = [
                statistics.median(a / b for a, b in zip(*pair, strict=True)) for pair in ((quiet, first), (busy, quiet))
            ]
            middle = [statistics.median(x) for x in (quiet, busy)]
            lines.append(
                f"| {learner} | {name} | {middle[0]:.0f} | {shares[0]:.2f} | {middle[1]:.0f} | {shares[1]:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    work(chosen.worker) if chosen.worker else main(chosen)
