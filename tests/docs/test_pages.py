"""The pages of the site and README: their tables are the raw files', and what they name of the code is there."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mjxrl.config import Config
from mjxrl.config.rules import flag

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def tool(name: str) -> ModuleType:
    """A program of docs/tools, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_what_their_raw_files_say() -> None:
    tables = tool("tables")
    pages = [ROOT / "README.md", *PAGES]
    assert [page.name for page in pages if tables.filled(page.read_text()) != page.read_text()] == []
    assert sum(page.read_text().count("<!-- table: ") for page in pages) >= 3


def test_the_results_are_means_over_seeds_of_the_better_algorithm(tmp_path: Path) -> None:
    tables: Any = tool("tables")
    tables.OURS, tables.PEERS = tmp_path / "ours.json", tmp_path / "peers.json"

    def written(path: Path, who: str, **scores: int) -> None:
        runs = [
            {
                "env": "Ant-v5",
                who: name.replace("_", "-"),
                "seed": seed,
                "returns": [score + seed, score + seed + 2],
                "steps": 1000 * (seed + 5),
                **({"device": "another, 2 cores"} if seed == 2 else {}),
            }
            for name, score in scores.items()
            for seed in (2, 0, 1)
        ]
        # one seed is no result of ours, and counts for a peer
        runs.append({"env": "Swimmer-v5", who: "sbx-ppo", "seed": 0, "returns": [99], "steps": 5000})
        for env, score in (("Pusher-v5", -20), ("Swimmer-v5", 33)):
            runs += [{"env": env, who: "sac", "seed": seed, "returns": [score], "steps": 9000} for seed in range(3)]
        path.write_text(json.dumps({"minutes": 10.0, "device": "a machine, 1 core", "runs": runs}))

    written(tables.OURS, "algo", sac=10, td3=20)
    written(tables.PEERS, "who", sbx_crossq=8, sbx_td3=4, mjxrl_sac=90)
    assert tables.results()[2:] == [
        "| Ant-v5 | TD3 22 [21, 23] (3 seeds) | CrossQ 10 [9, 11] (3 seeds) | 2.2 |",
        "| Pusher-v5 | SAC -20 [-20, -20] (3 seeds) | not run yet |  |",
        "| Swimmer-v5 | SAC 33 [33, 33] (3 seeds) | ppo 99 (1 seed) | 0.3 |",
    ]
    assert tables.seeds()[4:] == [
        "| Ant-v5 | TD3 | 22 | a machine | 0: 21, 1: 22 | 5 to 6 |",
        "| Ant-v5 | TD3 | 22 | another | 2: 23 | 7 |",
        "| Pusher-v5 | SAC | -20 | a machine | 0: -20, 1: -20, 2: -20 | 9 |",
        "| Swimmer-v5 | SAC | 33 | a machine | 0: 33, 1: 33, 2: 33 | 9 |",
        "| Swimmer-v5 | SBX ppo | 99 | a machine | 0: 99 | 5 |",
    ]
    assert [row.split(" |")[1] for row in tables.peers()[2::2]] == [" SBX CrossQ", " SBX TD3", " SAC", " SBX ppo"]


def test_the_plain_command_is_shown_beside_random_actions(tmp_path: Path) -> None:
    tables: Any = tool("tables")
    tables.PLAIN = tmp_path / "plain.json"

    def run(env: str, algo: str, *returns: int) -> dict[str, Any]:
        return {"env": env, "algo": algo, "returns": returns, "random": [-300, -100], "steps": 1000 * returns[0]}

    runs = [
        run("Ant-v5", "sac", 1, 3),
        {**run("Ant-v5", "sac", 3, 9), "better_returns": [3, 5]},
        run("Ant-v5", "td3", 500, 502),
        run("Pusher-v5", "td3", 9),
    ]
    tables.PLAIN.write_text(json.dumps({"runs": runs}))
    assert tables.plain()[2:] == [
        "| Ant-v5 | **3.0** (2,000; 2 seeds) | **501** (500,000) | -200 |",
        "| Pusher-v5 | not run yet | **9.0** (9,000) | -200 |",
    ]


def test_the_parts_are_means_over_seeds_of_where_the_curves_end(tmp_path: Path) -> None:
    tables: Any = tool("tables")
    tables.PARTS, tables.PARTS_PICTURE = tmp_path / "parts.json", tmp_path / "parts.png"
    assert len(tables.parts()) == 1  # no run yet
    runs = [
        {"algo": "td3", "variant": "one critic", "eval/return": [-999, *[-100 * n] * 4], "learner/q": [None, 1, 2 * n]}
        for n in (1, 2)
    ]
    tables.PARTS.write_text(json.dumps({"runs": runs}))
    assert tables.parts()[2] == "| TD3 | one critic | -150 (-200 to -100) | 3 |"
    tables.PARTS_PICTURE.touch()
    assert tables.parts()[0].endswith("(pictures/parts.png)")


@pytest.mark.parametrize(
    ("returns", "init_from", "listed"),
    [
        ([6100.0] * 10, None, True),
        ([6100.0] * 9, None, False),
        ([5999.0] * 10, None, False),
        ([6100.0] * 10, "runs/another", False),
    ],
)
def test_the_leaderboard_takes_runs_that_reach_the_goal(
    tmp_path: Path, returns: list[float], init_from: str | None, listed: bool
) -> None:
    tables: Any = tool("tables")
    tables.RESULTS = tmp_path
    entry = tmp_path / "leaderboard" / "ant"
    entry.mkdir(parents=True)
    (entry / "final.json").write_text(json.dumps({"steps": 80, "trained": {"returns": returns}}))
    about = {"config": {"env": "Ant-v5", "init_from": init_from}, "resolved": {"device_name": "a card"}}
    (entry / "config.json").write_text(json.dumps(about))
    (entry / "metrics.csv").write_text("step,time/elapsed_s\n10,60\n20,90\n40,30\n")
    (entry / "commit.txt").write_text("0123456789abcdef\n")
    cells = [cell.strip() for cell in tables.leaderboard()[2].split("|")[1:-1]]
    if listed:
        assert cells[1:5] == ["4.0", "6100 ± 0", "a card", "012345678"]
    else:
        assert cells[1] == "nobody yet"


def test_what_pages_show_of_the_code_is_there() -> None:
    """`make docs` would find out too, but a change to the code does not run it."""
    named = {name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
    assert len(named) > 20
    for name in named:
        parts = name.split(".")
        module_parts = next(
            parts[:n] for n in range(len(parts), 0, -1) if (ROOT / f"{'/'.join(parts[:n])}.py").is_file()
        )
        module = importlib.import_module(".".join(["mjxrl", *module_parts] if parts[0] == "envs" else module_parts))
        assert reduce(getattr, parts[len(module_parts) :], module) is not None, name


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert [page.name for page in PAGES if f": {page.name}" not in menu] == []


def test_what_a_page_asks_its_reader_to_do() -> None:
    page = """
This is `here/a.py`:

```python
x = 1
```

<!-- shortened: --total-steps 5 -->
```bash
mjxrl train --env A \\
    --seed 1
mjxrl evaluate run
```

<!-- not run: takes a day -->
```bash
sleep 86400
```

```python
never = "run"
```

<!-- run -->
```python
print("run")
```
"""
    check = tool("check")
    steps = [tuple(step) for step in check.steps(page)]
    assert steps == [
        ("write", "x = 1\n", "here/a.py"),
        ("bash", f"mjxrl train --env A \\\n    --seed 1 --total-steps 5 {check.QUICK}\nmjxrl evaluate run\n", ""),
        ("left out", "sleep 86400\n", "takes a day"),
        ("python", 'print("run")\n', ""),
    ]


def test_every_command_is_run_or_says_why_not() -> None:
    """A block marked `bash` is run by `make docs-check`; commands in other blocks would not be."""
    hidden = [
        (page.name, line)
        for page in PAGES
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if language != "bash" and line.startswith(("mjxrl", "python ", "make ", "pip "))
    ]
    assert hidden == []


def test_flags_that_pages_name_are_there() -> None:
    groups = {field.name: field.default_factory for field in dataclasses.fields(Config) if field.name != "task"}
    known = {
        flag(f"{name}.{option.name}")
        for name, group in groups.items()
        if isinstance(group, type)
        for option in dataclasses.fields(group)
    }
    groups_known = {name.partition(".")[0] for name in known}
    named = {
        (page.name, word.replace(".no-", "."))
        for page in [ROOT / "README.md", *PAGES]
        for word in re.findall(r"--[a-z0-9]+\.[a-z0-9-]+[a-z0-9]", page.read_text())
        if word.partition(".")[0] in groups_known
    }
    assert len(named) > 20
    assert [(page, word) for page, word in sorted(named) if word not in known] == []


def test_files_that_pages_name_are_there() -> None:
    """As a path from the root, or from mjxrl/; folders end in a slash, and those that a run makes are none of ours."""
    rooms = "mjxrl|tests|benchmarks|scripts|docs|envs|" + "|".join(p.name for p in (ROOT / "mjxrl").iterdir())
    named = {
        (page.name, path)
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
        for path in re.findall(rf"`((?:{rooms})/[\w./*-]*\w)(?:::\w+)?`", page.read_text())
    }
    assert len(named) > 40
    assert [
        (page, path) for page, path in sorted(named) if not ({*ROOT.glob(path)} | {*ROOT.glob(f"mjxrl/{path}")})
    ] == []


def test_every_column_of_metrics_is_explained() -> None:
    """A row of a table with its unit; the ranges, which a program writes, are no explanation."""
    page = re.sub(
        r"<!-- table: ranges -->.*?<!-- /table -->", "", (ROOT / "docs" / "metrics.md").read_text(), flags=re.DOTALL
    )
    explained = {
        name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line)
    }
    runs = [path.read_text() for path in (ROOT / "benchmarks" / "results" / "metrics").glob("*.csv")]
    columns = {name for text in runs for name in text.partition("\n")[0].split(",") if not name.startswith("reward/")}
    assert len(columns) > 40
    assert columns - explained == {"step", "updates"}  # which the first lines of the page explain
