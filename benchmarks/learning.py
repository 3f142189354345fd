"""What a policy scores in Gymnasium after so many minutes of training on a CPU: ours beside Stable-Baselines3 and SBX.

    pip install -e '.[peers]'
    python benchmarks/learning.py --json benchmarks/results/learning.json

Every run gets the same cores to itself, pinned, and the same wall-clock time; peers run with their defaults, ours with
the preset laptop, which was tuned on these tasks. Runs that the JSON file already holds are not repeated, so that the
command can be interrupted and called again, with more seeds too; after a change of preset start a new file.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro
from pinned_runs import call, complete, groups_of, opened, train

from mjxrl.machine import devices, versions

PEERS = {"sb3": "stable_baselines3", "sbx": "sbx"}


@dataclass(frozen=True)
class Options:
    json: Path
    """The raw figures: read first if it exists, written after every run."""
    env: tuple[str, ...] = ("HalfCheetah-v5", "Hopper-v5", "Ant-v5")
    """Task ids."""
    who: tuple[str, ...] = ("mjxrl-td3", "mjxrl-sac", "sbx-td3", "sbx-sac", "sbx-crossq", "sbx-crossq-128", "sb3-sac")
    """Who learns: mjxrl, sb3 or sbx, and the algorithm; peers also at another width of their hidden layers."""
    seeds: tuple[int, ...] = (20, 21, 22)
    """Seeds of each; ours were tuned on others."""
    minutes: float = 10.0
    """Wall-clock time of a run."""
    cores: int = 2
    """Cores of a run."""
    among: tuple[int, ...] = ()
    """Cores that may be used; as many runs go side by side as there are groups of them. Default: all."""
    episodes: int = 10
    """Episodes that the policy is scored by."""


def main(options: Options) -> None:
    report = opened(options.json, new_report(options), ("minutes", "cores", "episodes"))
    keys = [
        {"env": env, "who": who, "seed": seed} for seed in options.seeds for env in options.env for who in options.who
    ]
    groups = groups_of(options.cores, options.among)
    complete(report, options.json, keys, groups, lambda key, cores: made(key, options, cores))
    print_table(report)


def new_report(options: Options) -> dict[str, Any]:
    return {
        "device": devices.device_name("cpu"),
        "minutes": options.minutes,
        "cores": options.cores,
        "episodes": options.episodes,
        "versions": versions.versions() | {name: version(name) for name in ("stable-baselines3", "sbx-rl")},
    }


def made(key: dict[str, Any], options: Options, cores: list[int]) -> dict[str, Any]:
    """One run in a process of its own: transitions, updates, and the return of each episode in Gymnasium."""
    package, algo, width = (*key["who"].split("-"), "0")[:3]
    common = ["--env", key["env"], "--algo", algo, "--seed", str(key["seed"])]
    if package != "mjxrl":
        script = str(Path(__file__).parent / "learning_peer.py")
        peer = [
            "--width",
            width,
            "--package",
            PEERS[package],
            "--minutes",
            str(options.minutes),
            "--threads",
            str(len(cores)),
        ]
        printed = call(cores, script, *common, *peer, "--episodes", str(options.episodes))
        return json.loads(printed.splitlines()[-1])
    limit = ["--max-minutes", str(options.minutes), "--total-steps", str(10**9)]
    scored = ["--eval.every", "0", "--eval.final-episodes", str(options.episodes)]
    return train(cores, *common, "--preset", "laptop", "--device", "cpu", *limit, *scored)


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
