"""The GPU half of the speed figures, in one command, on a machine that has an NVIDIA GPU; needs no network.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --worlds 8 --tasks HalfCheetah-v5 --only native     (to try the script)

Sections come in the order of what each teaches: C, MJX with and without loops in command buffers, the learner launched
in each way, Warp, whole iterations with the share of their time in which no kernel runs, then other numbers of worlds.
Each has a process of its own and a time limit; all limits together are 45 minutes. After each the file is written,
benchmarks/results/gpu/<device>.json, raw repeats included; what it holds is not measured again, and what failed comes
after what is missing. Exits 1 if something could not be measured; the file says what.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "scripts"))
import _checkout  # type: ignore[import-not-found]  # noqa: E402, F401 (for a checkout that is not installed)

from mjxrl.errors import UnavailableError  # noqa: E402
from mjxrl.machine import devices, threads, versions  # noqa: E402
from mjxrl.measurement.report import FailedError, in_process  # noqa: E402
from mjxrl.storage.files import write_atomically  # noqa: E402

FROM_THE_HOST = {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=-WHILE,-CONDITIONAL"}
COMPILING = {"HalfCheetah-v5": 60, "Ant-v5": 150}  # seconds at most for MJX, start-up and measuring included
LAUNCHED = {
    "eager": "--learner.no-graphs --learner.no-compile",
    "graphs": "--learner.graphs --learner.no-compile",
    "compiled": "--learner.no-graphs --learner.compile",
    "both": "--learner.graphs --learner.compile",
}


@dataclass(frozen=True)
class Options:
    device: Literal["cuda", "cpu"] = "cuda"
    """The CPU is for trying the script."""
    worlds: tuple[int, ...] = (4096, 1024, 16384)
    """Numbers of worlds; learner and iterations are measured for the first."""
    tasks: tuple[str, ...] = ("HalfCheetah-v5", "Ant-v5", "Humanoid-v5")
    """Task ids."""
    only: tuple[str, ...] = ()
    """Only sections whose names begin with one of these."""
    repeats: int = 5
    """Of every measurement."""
    seconds: float = 0.5
    """Length of a repeat, about."""
    patience: float = 1.0
    """Factor of every time limit."""
    out: Path | None = None
    """The file, if not that of the device in benchmarks/results/gpu."""


class Section(NamedTuple):
    """Something to be measured in a process of its own."""

    name: str
    what: str
    """Of `mjxrl.measurement`."""
    flags: str
    limit: float
    """Seconds."""
    environment: dict[str, str] = {}  # noqa: RUF012 (a NamedTuple's default, never written to)


def sections(options: Options) -> Iterator[Section]:
    """All of them, in order."""
    most, *others = options.worlds
    one = "Ant-v5" if "Ant-v5" in options.tasks else options.tasks[0]

    def stepping(backend: str, env: str, worlds: int, limit: float) -> Section:
        flags = f"--env {env} --backend {backend} --num-envs {worlds}"
        return Section(f"{backend} {env} {worlds}", "stepping", flags, limit)

    def mjx(env: str, worlds: int) -> Section:
        return stepping("jax", env, worlds, COMPILING.get(env, 240 if worlds == most else 200))

    def iteration(backend: str, limit: float) -> Section:
        flags = f"--env {one} --algo sac --backend {backend} --num-envs {most}"
        return Section(f"iteration {backend} {one} {most}", "end_to_end", flags, limit)

    yield from (stepping("native", env, worlds, 25) for worlds in options.worlds for env in options.tasks)
    yield iteration("native", 60)
    first = mjx(options.tasks[0], most)
    yield first
    yield first._replace(name=f"{first.name} without loops in command buffers", environment=FROM_THE_HOST)
    for algo, ways in (("sac", LAUNCHED), ("td3", ("eager", "both"))):
        for way in ways:
            flags = f"--env {one} --algo {algo} --backend native --num-envs {most} {LAUNCHED[way]}"
            yield Section(f"learner {algo} {one} {way}", "learner", flags, 80 if "--learner.compile" in flags else 35)
    yield mjx(one, most)
    yield from (stepping("warp", env, most, 80) for env in options.tasks)
    yield iteration("jax", 90)  # finds what was compiled
    yield iteration("warp", 60)
    yield from (mjx(env, most) for env in options.tasks if env not in (one, options.tasks[0]))
    yield from (stepping("warp", env, worlds, 40) for worlds in others for env in options.tasks)
    yield from (mjx(env, worlds) for worlds in others for env in options.tasks)


def main(options: Options) -> int:
    try:
        device = devices.device_name(devices.resolve_device(options.device))
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = options.out or HERE / "results" / "gpu" / f"{device.replace(' ', '-')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"device": device, "cores": threads.available_cores(), "versions": versions.versions()}
    report: dict[str, Any] = (
        json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"sections": {}, "failures": {}}
    )
    wanted = {s.name: s for s in sections(options) if s.name.startswith(options.only or "")}
    missing = [s for name, s in wanted.items() if name not in report["sections"]]
    for section in sorted(missing, key=lambda s: s.name in report["failures"]):
        print(f"{section.name}, {section.limit:.0f} s at most", flush=True)
        measured(section, options, report)
        write_atomically(out, json.dumps(about | report, indent=2).encode() + b"\n")
    print(out)
    return 1 if report["failures"].keys() & wanted.keys() else 0


def measured(section: Section, options: Options, report: dict[str, Any]) -> None:
    """Put into the report what a process finds, or why there is nothing."""
    flags = [*section.flags.split(), "--device", options.device]
    started, limit = time.perf_counter(), section.limit * options.patience
    try:
        found = in_process([section.what], flags, options.repeats, options.seconds, section.environment, limit=limit)
    except FailedError as error:
        print(f"{section.name}: {error}", flush=True)
        report["failures"][section.name] = str(error)
        return
    report["failures"].pop(section.name, None)
    took = {"took_s": time.perf_counter() - started, "environment": section.environment}
    report["sections"][section.name] = found | took


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
