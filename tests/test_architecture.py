"""The house: imports run only downward, files are short, and nothing lies loose in `mjxrl/`."""

from __future__ import annotations

import ast
import re
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


def test_every_folder_is_in_the_wheel() -> None:
    """They are listed in pyproject.toml, since envs/ goes by another name."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "mjxrl").rglob("__init__.py")}
    assert set(told) == {".".join(folder.parts) for folder in folders} | {"mjxrl.envs"} and len(told) == len(set(told))


def test_what_windows_lacks_is_not_imported_with_a_module() -> None:
    lacking = {"fcntl", "resource", "pwd", "grp", "termios", "posix", "pty", "syslog"}
    found = {
        (path.relative_to(ROOT), alias.name)
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in lacking
    }
    assert found == set()


def test_no_signal_and_no_call_that_windows_lacks() -> None:
    """Where one is asked for first, as in `hasattr(os, ...)`, it is fine."""
    text = "\n".join(path.read_text() for path in MODULES)
    used = set(re.findall(r"signal\.(SIG[A-Z]\w+)", text)) - {"SIG_IGN", "SIG_DFL"}
    assert used <= {"SIGINT", "SIGTERM"}
    assert not re.search(r"\bos\.(fork|killpg|setsid|geteuid|getuid|uname|sysconf|statvfs|symlink|mkfifo)\b", text)


def test_only_the_ranks_know_torch_distributed() -> None:
    knowing = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Attribute) and "torch.distributed" in ast.unparse(node)
    }
    assert knowing == {"mjxrl/machine/ranks.py"}


def test_files_are_short_and_nothing_lies_loose() -> None:
    long = [str(path.relative_to(ROOT)) for path in MODULES if len(path.read_text().splitlines()) > 300]
    loose = {path.name for path in (ROOT / "mjxrl").glob("*.py")} - {"__init__.py", "errors.py"}
    assert (long, loose) == ([], set())


def test_text_files_are_utf_8_on_windows_too() -> None:
    """Where nothing is said, Python takes the code page of the system."""
    programs = [*MODULES, *(ROOT / "docs" / "tools").glob("*.py")]
    calls = [(path, call) for path in programs for call in _calls(path) if _opens_text(call)]
    assert len(calls) > 30
    silent = [(path, call.lineno) for path, call in calls if "encoding=" not in ast.unparse(call)]
    assert silent == []


def _calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def _opens_text(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    if called.rpartition(".")[2] == "open":
        return called != "os.open" and not re.search(r"'[rwax]b'", ast.unparse(call))
    return called.endswith(("read_text", "write_text"))
