"""Trains for half an hour at a small scale and records what must not grow: memory, compiled programs, open files.

    python benchmarks/soak.py --backend jax --minutes 30 --out benchmarks/results/soak-jax

writes `<out>.csv`, one row every ten seconds, and `<out>.json`: the slope of each column over the second half of the
rows, per hour, and the versions and the machine it ran on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from mjxrl.config.presets import default_config, merged
from mjxrl.machine import devices, settings, threads, versions

SECONDS_BETWEEN_ROWS = 10
SMALL = {
    "total_steps": 10**12,
    "replay": {"capacity": 8_000},  # full within the first minutes: its pages count from when they are first written
    "learner": {
        "updates_per_step": 4,
        "batch_size": 64,
        "warmup_steps": 800,
        "actor_hidden": (64, 64),
        "critic_hidden": (64, 64),
        "normalize_obs": True,
        "threads": 1,
    },
    "physics": {"threads": 1},
    "log": {"every": 800},
    "eval": {"every": 40_000, "episodes": 2},
    "checkpoint": {"every": 8_000},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--env", default="HalfCheetah-v5")
    options.add_argument("--algo", default="sac")
    options.add_argument("--backend", default="jax")
    options.add_argument("--device", default="auto")
    options.add_argument("--num-envs", type=int, default=8)
    options.add_argument("--minutes", type=float, default=30.0)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    device = devices.resolve_device(given.device)
    settings.set_up(device, given.backend)
    rows = soak(given, device)
    write(rows, given, device)


def soak(given: argparse.Namespace, device: str) -> list[dict[str, float]]:
    """Train for `given.minutes`; returns what was measured every ten seconds."""
    import torch

    from mjxrl.envs import task_class
    from mjxrl.reporting.metrics import MetricsLogger
    from mjxrl.training.launch import make_worlds
    from mjxrl.training.stopping import Stop
    from mjxrl.training.trainer import Trainer

    threads.set_torch_threads(1)
    config = default_config(given.env, given.algo, given.num_envs, given.backend, device, "paper")
    config = merged(merged(config, SMALL), {"task": task_class(given.env)(), "max_minutes": given.minutes})
    compiled = count_compilations() if given.backend != "native" else lambda: 0
    rows: list[dict[str, float]] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        settings.mujoco_log_to(path / "mujoco.log")
        trainer = Trainer(*make_worlds(config, config.machine()), config, path)

        def measure() -> None:
            started = time.monotonic()
            while not over.wait(SECONDS_BETWEEN_ROWS):
                rows.append(
                    {
                        "seconds": time.monotonic() - started,
                        "steps": trainer.session.steps,
                        "rss_bytes": resident("VmRSS"),
                        "rss_anon_bytes": resident("RssAnon"),
                        "device_bytes": torch.cuda.memory_reserved() if device == "cuda" else 0,
                        "jit_cache": cached_programs(trainer.worlds),
                        "compilations": compiled(),
                        "open_files": len(os.listdir("/proc/self/fd")),
                        "threads": threading.active_count(),
                    }
                )

        sampler = threading.Thread(target=measure, daemon=True)
        sampler.start()
        with MetricsLogger(path, total_steps=config.total_steps, max_minutes=config.max_minutes) as logger:
            trainer.run(logger, Stop(config.max_minutes))
        over.set()
        sampler.join()
    return rows


def resident(name: str) -> int:
    """Bytes of one line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def cached_programs(env: Any) -> int:
    """Compiled variants of the reset and the step program together; 0 on native, which compiles nothing."""
    return sum(program._cache_size() for program in (env._reset, env._step) if hasattr(program, "_cache_size"))


def count_compilations() -> Any:
    """A function that says how many programs jax has compiled or fetched from its disk cache since now."""
    import jax

    total = [0]

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        total[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(note)
    return lambda: total[0]


def slope_per_hour(rows: list[dict[str, float]], name: str) -> float:
    """Least-squares slope of a column over the second half of the rows."""
    half = rows[len(rows) // 2 :]
    line = statistics.linear_regression([row["seconds"] / 3600 for row in half], [row[name] for row in half])
    return line.slope


def write(rows: list[dict[str, float]], given: argparse.Namespace, device: str) -> None:
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: round(value, 1) for name, value in row.items()} for row in rows)
    names = [name for name in rows[0] if name not in ("seconds", "steps")]
    summary = {
        "run": {"env": given.env, "algo": given.algo, "backend": given.backend, "num_envs": given.num_envs},
        "device": devices.device_name(device),
        "versions": versions.versions(),
        "minutes": rows[-1]["seconds"] / 60,
        "steps": rows[-1]["steps"],
        "at_half": {name: rows[len(rows) // 2][name] for name in names},
        "at_end": {name: rows[-1][name] for name in names},
        "slope_per_hour_second_half": {name: slope_per_hour(rows, name) for name in names},
    }
    given.out.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
