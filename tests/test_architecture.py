"""The house: imports run only downward, files are short, and nothing lies loose in `mjxrl/`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [path for path in (ROOT / "mjxrl").rglob("*.py") if "envs" not in path.parts] + [
    *(ROOT / "envs").glob("*.py")
]


def test_imports_run_downward() -> None:
    """As the contracts in pyproject.toml have it; `make check` says it too."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-logo', '--no-cache'])"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_folder_has_its_floor() -> None:
    """A new folder must be given a place among the layers, else nothing is checked about it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {name.strip(" ()").removeprefix("mjxrl.") for layer in contracts[0]["layers"] for name in layer.split("|")}
    found = {
        path.stem for path in (ROOT / "mjxrl").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == named


def test_files_are_short_and_nothing_lies_loose() -> None:
    long = [str(path.relative_to(ROOT)) for path in MODULES if len(path.read_text().splitlines()) > 300]
    loose = {path.name for path in (ROOT / "mjxrl").glob("*.py")} - {"__init__.py", "errors.py"}
    assert (long, loose) == ([], set())
