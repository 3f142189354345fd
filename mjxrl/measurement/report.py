"""The whole report: which processes measure what, and what is put together from their results.

Imports neither jax nor torch: each number of worlds has a process of its own, so that one that fails (for want of
memory, say) costs only its own row, and peaks of memory are its own.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import mjxrl
from mjxrl.machine import devices, threads, torchrun, versions
from mjxrl.measurement.startup import CACHES
from mjxrl.measurement.timing import sample
from mjxrl.measurement.worker import Job

BY_DEFAULT = ("startup", "physics", "learner", "end-to-end", "memory", "sampling", "scaling")
SECTIONS = (*BY_DEFAULT, "ranks")
PATIENCE = 10.0  # seconds in which the others must end after one of several processes failed
POLL = 0.02  # seconds between two looks at them
PAIRS = 3  # of start-ups, cold and warm; fewer if fewer repeats are asked for

_CODE = "import sys; sys.path.append(sys.argv[1]); from mjxrl.cli.measure import main; sys.exit(main())"


class FailedError(RuntimeError):
    """A process that measured something failed; the message is the last line it wrote."""


def benchmark(
    flags: Mapping[int, list[str]],
    sections: Sequence[str],
    *,
    repeats: int,
    seconds: float,
    device: str,
    say: Callable[[str], None],
    ranks: int = 2,
) -> dict[str, Any]:
    """Measure `sections` of `SECTIONS` for each number of worlds.

    Args:
        flags: the configuration for each number of worlds, as `mjxrl-train` reads it. Start-up, sampling and ranks
            are measured for the first number only.
        repeats: of every measurement.
        seconds: that a repeat takes, about.
        device: as resolved, "cpu" or "cuda"; for its name.
        say: told what is measured next.
        ranks: processes that share a run in the section of that name.

    Returns:
        What goes into the JSON file; "failures" lists what could not be measured.
    """
    report: dict[str, Any] = {
        "device": devices.device_name(device),
        "cores": threads.available_cores(),
        "versions": versions.versions(),
        "load_average_before": _load_average(),
        "repeats": repeats,
        "seconds": seconds,
        "failures": [],
    }

    def attempt(what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        say(what)
        try:
            return measure()
        except FailedError as error:
            say(f"{what}: {error}")
            report["failures"].append({"what": what, "why": str(error)})
            return None

    def measured(section: list[str], words: list[str]) -> dict[str, Any]:
        return in_process(section, words, repeats, seconds)

    def of_ranks() -> dict[str, Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            places = torchrun.on_one_machine(ranks, free.getsockname()[1])
        return in_processes(["ranks"], first, repeats, seconds, places)[0]

    first = next(iter(flags.values()))
    if "startup" in sections:
        report["startup"] = attempt("start-up, cold and warm", lambda: startup(first, min(repeats, PAIRS)))
    needed = {*sections, *(("physics", "end-to-end") if "scaling" in sections else ())}
    together = [name.replace("-", "_") for name in ("end-to-end", "physics", "learner") if name in needed]
    report["worlds"] = []
    for num_envs, words in flags.items():
        found: dict[str, Any] = {}
        for section in (together, ["memory"] if "memory" in needed else []):
            if section:
                what = f"{num_envs} worlds: {', '.join(section).replace('_', '-')}"
                found |= attempt(what, lambda section=section, words=words: measured(section, words)) or {}
        if found:
            report["worlds"].append(found)
    if "sampling" in sections:
        found = attempt("sampling", lambda: measured(["sampling"], first)) or {}
        report["sampling"] = found.get("sampling")
    if "ranks" in sections:
        found = attempt(f"{ranks} processes", of_ranks) or {}
        report["ranks"] = found.get("ranks")
    if "scaling" in sections:
        report["scaling"] = scaling(report["worlds"])
    report["load_average_after"] = _load_average()
    return report


def startup(flags: list[str], pairs: int) -> dict[str, Any]:
    """Fresh processes in pairs, cold and warm, each pair with caches of its own."""
    runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(pairs):
        with tempfile.TemporaryDirectory(prefix="mjxrl-benchmark-") as folder:
            caches = {name: str(Path(folder) / place) for name, place in CACHES.items()}
            for state in runs.values():
                state.append(in_process(["startup"], flags, 1, 0, caches)["startup"])
    return {state: {part: sample(times[part] for times in found) for part in found[0]} for state, found in runs.items()}


def scaling(worlds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per number of worlds, medians only."""
    rows = []
    for found in sorted(worlds, key=lambda found: found["num_envs"]):
        row = {name: found[name] for name in ("num_envs", "preset", "updates_per_step", "batch_size")}
        if "physics" in found:
            row["bare_env_steps_per_s"] = found["physics"]["bare"]["env_steps_per_s"]["median"]
            row["vector_env_env_steps_per_s"] = found["physics"]["vector_env"]["env_steps_per_s"]["median"]
        if "end_to_end" in found:
            row["env_steps_per_s"] = found["end_to_end"]["env_steps_per_s"]["median"]
            row["updates_per_s"] = found["end_to_end"]["updates_per_s"]["median"]
            row["against_longer_half"] = found["end_to_end"]["against_longer_half"]["median"]
        rows.append(row)
    return rows


def in_process(
    section: list[str],
    flags: list[str],
    repeats: int,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    limit: float = math.inf,
) -> dict[str, Any]:
    """What a fresh process finds.

    Args:
        environment: variables that it has besides ours.
        limit: seconds after which it is killed.

    Raises:
        FailedError: it failed, or took too long.
    """
    return in_processes(section, flags, repeats, seconds, [environment or {}], limit)[0]


def in_processes(
    section: list[str],
    flags: list[str],
    repeats: int,
    seconds: float,
    environments: Sequence[Mapping[str, str]],
    limit: float = math.inf,
) -> list[dict[str, Any]]:
    """What fresh processes find, one for each environment, which run at once.

    Raises:
        FailedError: one failed, or they took more than `limit` seconds.
    """
    root = str(Path(mjxrl.__file__).parents[1])  # for a checkout that is not installed
    with tempfile.TemporaryDirectory(prefix="mjxrl-benchmark-") as folder, ExitStack() as opened:
        outs = [Path(folder) / f"{k}.json" for k in range(len(environments))]
        errors = [
            opened.enter_context(out.with_suffix(".err").open("w+", encoding="utf-8", errors="replace")) for out in outs
        ]
        processes: list[subprocess.Popen[str]] = []
        for out, error, environment in zip(outs, errors, environments, strict=True):
            job: Job = {
                "section": section,
                "flags": flags,
                "repeats": repeats,
                "seconds": seconds,
                "spawned": time.time(),
                "out": str(out),
            }
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE, root],
                stdin=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=error,
            )
            processes.append(opened.enter_context(process))
            opened.callback(process.kill)
            assert process.stdin is not None
            with process.stdin as stdin:
                stdin.write(json.dumps(job))
        if failed := _failed(processes, limit):
            said = [line for k in failed if (line := _last_line(errors[k]))]
            raise FailedError(said[0] if said else f"exit status {processes[failed[0]].returncode}")
        return [json.loads(out.read_text(encoding="utf-8")) for out in outs]


def _failed(processes: Sequence[subprocess.Popen[str]], limit: float) -> list[int]:
    """Wait until all have ended; which of them failed, the first one first. Those that wait for one that has failed
    have some seconds to notice.

    Raises:
        FailedError: they are still at work after `limit` seconds.
    """
    failed: dict[int, None] = {}
    end, late = math.inf, time.monotonic() + limit
    while len(failed) < len(processes) and time.monotonic() < end:
        statuses = [process.poll() for process in processes]
        failed |= {k: None for k, status in enumerate(statuses) if status}
        if None not in statuses:
            break
        if time.monotonic() > late:
            raise FailedError(f"not done after {limit:g} s")
        if failed:
            end = min(end, time.monotonic() + PATIENCE)
        time.sleep(POLL)
    return list(failed)


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    lines = file.read().strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else ""


def _load_average() -> tuple[float, ...] | None:
    return os.getloadavg() if hasattr(os, "getloadavg") else None
