"""Runs that each have some cores to themselves: side by side, one file of raw figures, which a second call completes.

For the benchmarks beside it, which start everything in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from mjxrl.machine import devices
from mjxrl.reporting.plotting import elapsed_minutes, read_metrics
from mjxrl.storage import checkpoint

Row = dict[str, Any]


def opened(path: Path, new: Row, fixed: Iterable[str]) -> Row:
    """The report at `path`, or a new one; exits if it is of other runs, which differ in what `fixed` names."""
    if not path.exists():
        return {**new, "runs": []}
    report = json.loads(path.read_text())
    if any(report[name] != new[name] for name in fixed):
        sys.exit(f"error: --json {path}: allowed: a file of runs with the same {', '.join(fixed)}")
    return report


def complete(
    report: Row, path: Path, keys: Iterable[Row], groups: list[list[int]], run: Callable[[Row, list[int]], Row]
) -> None:
    """Make the runs that the report lacks, one at a time on each group of cores; written after every one."""
    waiting: Queue[Row] = Queue()
    for key in keys:
        if not any(key.items() <= made.items() for made in report["runs"]):
            waiting.put(key)
    writing, failures = threading.Lock(), []

    def work(group: list[int]) -> None:
        while not failures:
            try:
                key = waiting.get_nowait()
            except Empty:
                return
            try:
                # a file that was begun elsewhere may be completed here
                machine = {"device": devices.device_name("cpu"), "load_average_before": os.getloadavg()}
                result = machine | run(key, group)
            except Exception as error:
                failures.append(error)
                return
            with writing:
                report["runs"].append({**key, **result})
                path.write_text(json.dumps(report, indent=2) + "\n")
                named = [value for name, value in key.items() if name != "flags"]
                print(*named, f"{mean(result['returns']):.0f}", flush=True)

    workers = [threading.Thread(target=work, args=[group]) for group in groups]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        sys.exit(f"error: {failures[0]}")


def groups_of(cores: int, among: Iterable[int] = ()) -> list[list[int]]:
    """As many groups of that many cores as there are, of those named or all that this process may use."""
    free = sorted(among or os.sched_getaffinity(0))
    return [free[i : i + cores] for i in range(0, len(free) - cores + 1, cores)]


def call(cores: list[int], *command: str) -> str:
    """What a Python program prints on these cores.

    Raises:
        RuntimeError: it failed.
    """
    argv, pin = [sys.executable, *command], {"preexec_fn": lambda: os.sched_setaffinity(0, cores)}
    done = subprocess.run(argv, capture_output=True, text=True, **pin)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} failed:\n{done.stderr}")
    return done.stdout


def train(cores: list[int], *flags: str, ranks: int = 1) -> Row:
    """One training run: its configuration, what it made, the return of each last episode, and of evaluations before;
    of several `ranks` under torchrun."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)) if ranks > 1 else ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        script = str(Path(__file__).parents[1] / "scripts" / "train.py")
        command = *launcher, script, *flags, "--checkpoint.every", "0", "--checkpoint.no-replay", "--run-dir", str(path)
        call(cores, *command)
        final, rows = json.loads((path / "final.json").read_text()), read_metrics(path)
        evaluations = [row for row in rows if "eval/return" in row]
        minutes = elapsed_minutes(rows, [row["step"] for row in (*evaluations, rows[-1])])
        return {
            "config": json.loads((path / "config.json").read_text())["config"],
            "steps": final["steps"],
            "updates": checkpoint.read_manifest(path, "latest", {})["updates"],
            "minutes_taken": float(minutes[-1]),
            "returns": final["trained"]["returns"],
            "better_returns": final[final.get("better", "trained")]["returns"],  # of what the command says to take
            "random": final["random"]["returns"],
            "curve": [(row["step"], at, row["eval/return"]) for row, at in zip(evaluations, minutes, strict=False)],
        }


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
