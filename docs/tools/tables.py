"""The tables that come from raw files: put into README and pages between `<!-- table: NAME -->` and `<!-- /table -->`.

python docs/tools/tables.py          write them
python docs/tools/tables.py --check  exit 1 if one is not what its raw files say
"""

from __future__ import annotations

import csv
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from mjxrl.machine.backends import TABLE
from mjxrl.reporting.plotting import elapsed_minutes, read_metrics

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)

OURS = RESULTS / "ladder-one-core.json"  # by benchmarks/ladder.py
PEERS = RESULTS / "learning-one-core.json"  # by benchmarks/learning.py
PLAIN = RESULTS / "plain.json"  # by benchmarks/plain.py
TUNING = RESULTS / "ladder-tuning.json"  # by benchmarks/ladder.py, called several times
GOALS = {"Ant-v5": 6000, "HalfCheetah-v5": 10000, "Humanoid-v5": 6000}  # of the leaderboard, mean return in Gymnasium
EPISODES = 10  # that a score on the leaderboard is of, at least
FETCH = RESULTS / "fetch.json"  # by mjxrl-compare, from runs of the Fetch tasks
PARTS = RESULTS / "parts.json"  # by benchmarks/parts.py, as is its picture
PARTS_PICTURE = ROOT / "docs" / "pictures" / "parts.png"
METRICS = ("HalfCheetah-v5-td3", "FetchPush-v4-sac")  # runs whose columns are shown


def results() -> list[str]:
    """Scores after so many minutes: our better algorithm with three seeds or more, and the best of the peers."""
    ours, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in (OURS, PEERS))
    mine = scores(ours["runs"], "algo", least=3)
    others = scores([run for run in theirs["runs"] if run["who"].startswith("sbx")], "who")
    rows = []
    for env in dict.fromkeys(env for env, _ in mine):
        score, said = best(mine, env)
        peer, theirs_said = best(others, env)
        rows.append((env, said, theirs_said, f"{score / peer:.1f}" if peer > 0 else ""))
    length = f"{ours['minutes']:.0f} minutes on one core"
    return table(("Task", f"mjxrl, {length}", "the best of SBX, as long", "ratio"), rows)


def seeds() -> list[str]:
    """The runs behind `results`: each algorithm's score with each seed, and its transitions, on each processor."""
    report = json.loads(OURS.read_text(encoding="utf-8"))
    return each_seed(report["runs"], "algo", report["device"])


def peers() -> list[str]:
    """The same of the peers."""
    report = json.loads(PEERS.read_text(encoding="utf-8"))
    return each_seed([run for run in report["runs"] if not run["who"].startswith("mjxrl")], "who", report["device"])


def each_seed(runs: list[dict[str, Any]], who: str, device: str) -> list[str]:
    """Scores seed by seed, of tasks and of what `who` names; on `device` where a run does not say on which."""
    means = {named_by: statistics.fmean(of_seeds) for named_by, of_seeds in scores(runs, who).items()}
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        processor = run.get("device", device).rpartition(",")[0]
        groups.setdefault((run["env"], run[who], processor), []).append(run)
    rows = []
    for (env, name, processor), of_one in sorted(groups.items()):
        said = ", ".join(f"{run['seed']}: {statistics.fmean(run['returns']):.0f}" for run in of_one)
        steps = sorted(run["steps"] // 1000 for run in of_one)
        span = f"{steps[0]} to {steps[-1]}" if steps[-1] > steps[0] else str(steps[0])
        rows.append((env, named(name), f"{means[env, name]:.0f}", processor, said, span))
    return table(("Task", "Algorithm", "mean", "processor", "seed: score", "1000 transitions"), rows)


def scores(runs: list[dict[str, Any]], who: str, least: int = 1) -> dict[tuple[str, str], list[float]]:
    """The mean return of each seed's last episodes, by task and by what `who` names, where so many seeds were run."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        found.setdefault((run["env"], run[who]), []).append(statistics.fmean(run["returns"]))
    return {named: of_seeds for named, of_seeds in found.items() if len(of_seeds) >= least}


def best(found: dict[tuple[str, str], list[float]], env: str) -> tuple[float, str]:
    """The best mean over seeds on a task, and how it is said; of three, with its 95 % interval, bootstrapped."""
    of_task = [(statistics.fmean(of_seeds), who, of_seeds) for (task, who), of_seeds in found.items() if task == env]
    if not of_task:
        return 0.0, "not run yet"
    mean, who, of_seeds = max(of_task)
    algo = named(who).removeprefix("SBX ")
    if len(of_seeds) < 3:
        return mean, f"{algo} {mean:.0f} ({len(of_seeds)} seed{'s' if len(of_seeds) > 1 else ''})"
    low, high = bootstrap((of_seeds,), np.mean, method="percentile", rng=0).confidence_interval
    return mean, f"{algo} {mean:.0f} [{low:.0f}, {high:.0f}] ({len(of_seeds)} seeds)"


def named(who: str) -> str:
    """An algorithm, or a peer's, as papers write it."""
    packages = {"sbx-": "SBX ", "sb3-": "Stable-Baselines3 "}
    for short, long in {**packages, "crossq": "CrossQ", "sac": "SAC", "td3": "TD3"}.items():
        who = who.replace(short, long)
    return who


def plain() -> list[str]:
    """What the plain command scores with either algorithm, one seed of each or the mean of several, beside random."""
    report = json.loads(PLAIN.read_text(encoding="utf-8"))
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in report["runs"]:
        groups.setdefault(run["env"], []).append(run)
    rows = []
    for env, runs in groups.items():
        of_algo = [[run for run in runs if run["algo"] == algo] for algo in ("sac", "td3")]
        rows.append((env, *map(score_and_length, of_algo), number(statistics.fmean(runs[0]["random"]))))
    return table(("Task", "SAC", "TD3", "random actions"), rows)


def score_and_length(runs: list[dict[str, Any]]) -> str:
    """The mean return over seeds of what the command says to take, the last policy or the best one; after how many
    transitions, and the seeds if there are several."""
    if not runs:
        return "not run yet"
    score = number(statistics.fmean(statistics.fmean(run.get("better_returns", run["returns"])) for run in runs))
    steps = f"{statistics.fmean(run['steps'] for run in runs):,.0f}"
    return f"**{score}** ({steps}{f'; {len(runs)} seeds' if len(runs) > 1 else ''})"


def number(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}"


def tuning() -> list[str]:
    """The runs that settings were chosen by, one seed each."""
    rows = []
    for run in sorted(json.loads(TUNING.read_text(encoding="utf-8"))["runs"], key=lambda run: run["env"]):
        score = f"{statistics.fmean(run['returns']):.0f} ± {statistics.pstdev(run['returns']):.0f}"
        counts = f"{run['steps']:,}", f"{run['updates']:,}"
        rows.append((run["env"], run["algo"].upper(), run["variant"], str(run["seed"]), *counts, score))
    return table(("Task", "Algorithm", "Settings", "Seed", "Transitions", "Updates", "Score in Gymnasium"), rows)


def leaderboard() -> list[str]:
    """The fastest run for each goal: folders of results/leaderboard with final.json, config.json and metrics.csv."""
    rows = []
    for env, goal in GOALS.items():
        entries = [entry for path in (RESULTS / "leaderboard").glob("*/final.json") if (entry := read(path, env, goal))]
        task = f"{env.removesuffix('-v5')} {goal}"
        rows += [(task, *entry[1:]) for entry in sorted(entries)] or [(task, "nobody yet", "", "", "", "")]
    return table(("Goal", "minutes", "score in Gymnasium", "device", "commit", "raw files"), rows)


def read(path: Path, env: str, goal: float) -> tuple[float, str, str, str, str, str] | None:
    """A row, with its minutes before it to sort by; None if it is of another task or falls short of the goal."""
    final = json.loads(path.read_text(encoding="utf-8"))
    score = final["trained"]
    about: dict[str, Any] = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    returns = score["returns"]
    if about["config"]["env"] != env or len(returns) < EPISODES or statistics.fmean(returns) < goal:
        return None
    if about["config"].get("init_from") is not None:
        return None  # of its minutes only the last are known
    rows = read_metrics(path.parent)
    logged = rows[-1]["step"]  # the run may have gone on after its last line, at the same rate
    minutes = float(elapsed_minutes(rows, [logged])[0]) * max(1, final["steps"] / logged)
    commit = (path.parent / "commit.txt").read_text(encoding="utf-8").strip()[:9]
    folder = f"benchmarks/results/leaderboard/{path.parent.name}"
    scored = f"{statistics.fmean(returns):.0f} ± {statistics.pstdev(returns):.0f}"
    return minutes, f"{minutes:.1f}", scored, about["resolved"]["device_name"], commit, folder


def ranges() -> list[str]:
    """What each column of metrics.csv was in the second half of healthy runs: from its 10 % to its 90 % quantile."""
    runs = []
    for name in METRICS:
        with (RESULTS / "metrics" / f"{name}.csv").open(encoding="utf-8") as file:
            runs.append(list(csv.DictReader(file)))
    columns = sorted({column for rows in runs for column in rows[0]} - {"step", "updates"})
    columns = [column for column in columns if not column.startswith(("time/", "reward/"))]
    rows = [(f"`{column}`", *(span(run, column) for run in runs)) for column in columns]
    return table(
        ("Column", *(f"{name.rpartition('-')[2].upper()}, {name.rpartition('-')[0]}" for name in METRICS)), rows
    )


def span(rows: list[dict[str, str]], column: str) -> str:
    values = [float(row[column]) for row in rows[len(rows) // 2 :] if row.get(column)]
    if len(values) < 2:
        return ""
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    low, high = (f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}" for x in (deciles[0], deciles[-1]))
    return low if low == high else f"{low} to {high}"


def fetch() -> list[str]:
    """Where the arm gets: each task, algorithm and length of a run, over its seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in json.loads(FETCH.read_text(encoding="utf-8")).values():
        config = run["config"]["config"]
        minutes, steps = config["max_minutes"], config["total_steps"]
        length = f"{steps:,} transitions" if minutes is None else f"{minutes:.0f} minutes"
        hindsight = "without" if config["replay"]["her_goals"] == 0 or "Dense" in config["env"] else "with"
        groups.setdefault((config["env"], config["algo"].upper(), hindsight, length), []).append(run)
    rows = []
    for group, runs in sorted(groups.items()):
        scores = [run["final"]["trained"] for run in runs]
        success = ", ".join(f"{score['success']:.0%}" for score in scores)
        distance = ", ".join(f"{1000 * score['distance']:.1f}" for score in scores)
        rows.append((*group, success, distance))
    return table(("Task", "Algorithm", "Hindsight", "Length", "Success, each seed", "Final distance, mm"), rows)


def parts() -> list[str]:
    """The parts of the algorithms, one changed at a time: the curves, and where they end."""
    if not PARTS.exists():
        return [
            "No run of ours stands here yet: what follows is the papers' argument, with the flag and where to look."
        ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in json.loads(PARTS.read_text(encoding="utf-8"))["runs"]:
        groups.setdefault((run["algo"].upper(), run["variant"]), []).append(run)
    rows = []
    for group, runs in groups.items():
        returns = [statistics.fmean(run["eval/return"][-4:]) for run in runs]
        spread = f"{statistics.fmean(returns):.0f} ({min(returns):.0f} to {max(returns):.0f})"
        rows.append((*group, spread, f"{statistics.fmean(last(run, 'learner/q') for run in runs):.0f}"))
    most = max(len(runs) for runs in groups.values())
    head = ("Algorithm", "Changed", f"Return, mean of {most} seeds (worst to best)", "`learner/q` at the end")
    picture = [f"![Returns over transitions](pictures/{PARTS_PICTURE.name})", ""] if PARTS_PICTURE.exists() else []
    about = (
        "Returns are of the last four evaluations of a run, eight episodes each. All rows, and the flags of each run: "
    )
    return [*picture, *table(head, rows), "", f"{about}[`{PARTS.name}`](../benchmarks/results/{PARTS.name})."]


def last(run: dict[str, Any], column: str) -> float:
    return next(value for value in reversed(run[column]) if value is not None)


def backends() -> list[str]:
    """What `--backend auto` means."""
    rows = []
    for row in TABLE:
        worlds = "any number" if row.num_envs == 1 else f"{row.num_envs} or more"
        source = re.sub(r"(\S+\.json)", r"`\1`", row.source)
        rows.append((row.device, worlds, row.env, f"`{row.backend}`", row.why, source))
    return table(("Device", "Worlds", "Task", "Backend", "Why", "Source"), rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "results": results,
    "seeds": seeds,
    "peers": peers,
    "plain": plain,
    "tuning": tuning,
    "leaderboard": leaderboard,
    "ranges": ranges,
    "fetch": fetch,
    "parts": parts,
    "backends": backends,
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of Markdown."""
    head = tuple(head)
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def filled(text: str) -> str:
    """`text` with its tables as the raw files have them."""
    return PLACE.sub(lambda place: place[1] + "\n".join([*TABLES[place[2]](), place[3]]), text)


def main() -> int:
    """Write or check; returns the exit status."""
    stale = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(filled(text), encoding="utf-8")
    print(*(f"{path.relative_to(ROOT)}: its tables are new" for path in stale), sep="\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
