"""What a policy scores in Gymnasium after so many minutes of training on a CPU: ours beside Stable-Baselines3 and SBX.

    pip install -e '.[peers]'
    python benchmarks/learning.py --json benchmarks/results/learning.json

Every run gets the same cores to itself, pinned, and the same wall-clock time; peers run with their defaults, ours with
the preset laptop, which was tuned on these tasks. Runs that the JSON file already holds are not repeated, so that the
command can be interrupted and called again, with more seeds too; after a change of preset start a new file. As many
runs go side by side as there are cores for.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import tyro

from mjxrl.machine import devices, versions
from mjxrl.storage import checkpoint

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    env: tuple[str, ...] = ("HalfCheetah-v5", "Hopper-v5", "Ant-v5")
    """Task ids."""
    who: tuple[str, ...] = ("mjxrl-td3", "mjxrl-sac", "sbx-td3", "sbx-sac", "sb3-td3", "sb3-sac")
    """Who learns: mjxrl, sb3 or sbx, and the algorithm."""
    seeds: int = 3
    """Runs of each, with seeds 0, 1, ..."""
    minutes: float = 10.0
    """Wall-clock time of a run."""
    cores: int = 2
    """Cores of a run."""
    episodes: int = 10
    """Episodes that the policy is scored by."""


def main(options: Options) -> None:
    report = json.loads(options.json.read_text()) if options.json.exists() else new_report(options)
    wanted = {name: getattr(options, name) for name in ("minutes", "cores", "episodes")}
    if any(report[name] != value for name, value in wanted.items()):
        sys.exit(f"error: --json {options.json}: allowed: a file of runs with the same minutes, cores and episodes")
    runs: Queue[dict[str, Any]] = Queue()
    for seed in range(options.seeds):
        for env in options.env:
            for who in options.who:
                key = {"env": env, "who": who, "seed": seed}
                if not any(key.items() <= run.items() for run in report["runs"]):
                    runs.put(key)
    writing = threading.Lock()
    cores = sorted(os.sched_getaffinity(0))
    groups = [cores[i : i + options.cores] for i in range(0, len(cores) - options.cores + 1, options.cores)]

    def work(group: list[int]) -> None:
        while True:
            try:
                key = runs.get_nowait()
            except Empty:
                return
            result = train(key, options, group)
            with writing:
                report["runs"].append({**key, **result})
                options.json.write_text(json.dumps(report, indent=2) + "\n")
                print(*key.values(), f"{statistics.fmean(result['returns']):.0f}", flush=True)

    workers = [threading.Thread(target=work, args=[group]) for group in groups]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print_table(report)


def new_report(options: Options) -> dict[str, Any]:
    return {
        "device": devices.device_name("cpu"),
        "minutes": options.minutes,
        "cores": options.cores,
        "episodes": options.episodes,
        "versions": versions.versions() | {name: version(name) for name in ("stable-baselines3", "sbx-rl")},
        "runs": [],
    }


def train(key: dict[str, Any], options: Options, cores: list[int]) -> dict[str, Any]:
    """One run in a process of its own: transitions, updates, and the return of each episode in Gymnasium."""
    package, algo = key["who"].split("-")
    here, load = Path(__file__).parent, os.getloadavg()

    def call(*command: str) -> str:
        argv = [sys.executable, *command]
        pin = {"preexec_fn": lambda: os.sched_setaffinity(0, cores)}
        done = subprocess.run(argv, capture_output=True, text=True, **pin)
        if done.returncode:
            sys.exit(f"{' '.join(argv)} failed:\n{done.stderr}")
        return done.stdout

    common = ["--env", key["env"], "--algo", algo, "--seed", str(key["seed"])]
    if package != "mjxrl":
        peer = ["--package", PEERS[package], "--minutes", str(options.minutes), "--threads", str(len(cores))]
        printed = call(str(here / "learning_peer.py"), *common, *peer, "--episodes", str(options.episodes))
        return {**json.loads(printed.splitlines()[-1]), "load_average_before": load}
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        time_limit = ["--max-minutes", str(options.minutes), "--total-steps", str(10**9)]
        quiet = ["--eval.every", "0", "--checkpoint.every", "0", "--checkpoint.no-replay"]
        quiet += ["--eval.final-episodes", str(options.episodes)]
        setting = ["--preset", "laptop", "--device", "cpu", "--run-dir", str(run_dir)]
        call(str(here.parent / "scripts" / "train.py"), *common, *setting, *time_limit, *quiet)
        final = json.loads((run_dir / "final.json").read_text())
        config = json.loads((run_dir / "config.json").read_text())["config"]
        updates = checkpoint.read_manifest(run_dir, "latest", {})["updates"]
    return {
        "config": config,
        "steps": final["steps"],
        "updates": updates,
        "returns": final["trained"]["returns"],
        "load_average_before": load,
    }


def print_table(report: dict[str, Any]) -> None:
    """Mean over seeds of the mean return, and ours against the best of the peers."""
    scores: dict[str, dict[str, list[float]]] = {}
    for run in report["runs"]:
        scores.setdefault(run["env"], {}).setdefault(run["who"], []).append(statistics.fmean(run["returns"]))
    for env, found in scores.items():
        print(env)
        for who, values in found.items():
            print(f"  {who:10} {statistics.fmean(values):7.0f}  ({', '.join(f'{value:.0f}' for value in values)})")
        ours = [statistics.fmean(values) for who, values in found.items() if who.startswith("mjxrl")]
        peers = [statistics.fmean(values) for who, values in found.items() if not who.startswith("mjxrl")]
        if ours and peers:
            print(f"  best of ours / best of the peers: {max(ours) / max(peers):.2f}")


if __name__ == "__main__":
    main(tyro.cli(Options))
