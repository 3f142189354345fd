"""A checkout without links, as git makes it on Windows: it runs, and what it builds holds the package alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# where another mjxrl is installed its finder would answer for what is missing here
WITHOUT_OURS = (
    "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])];"
    "sys.meta_path = [f for f in sys.meta_path if 'editable' not in getattr(f, '__module__', '') + str(f)];"
    "sys.path.insert(0, sys.argv.pop(2)); del sys.argv[1];"
)
TRAIN = "from mjxrl.cli.program import main; sys.exit(main())"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("mjxrl", "envs", "scripts"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "mjxrl" / "envs").unlink()
    (copy / "mjxrl" / "envs").write_text("../envs")
    (copy / "tests").mkdir()
    (copy / "tests" / "__init__.py").touch()  # not to be taken along
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    """A folder with the wheel and the source distribution, by the tool that pip calls, without asking the network."""
    call = "import setuptools.build_meta as b; b.build_wheel('dist'); b.build_sdist('dist')"
    (checkout / "dist").mkdir()
    done = subprocess.run([sys.executable, "-c", call], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return checkout / "dist"


def python(code: str, where: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with the `mjxrl` in the folder `where`, and no other."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", WITHOUT_OURS + code, str(ROOT), str(where), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_tasks_are_found_without_the_link(checkout: Path, tmp_path: Path) -> None:
    done = python("import mjxrl.envs.ant; print(mjxrl.envs.ant.__file__)", checkout, tmp_path)
    assert done.stdout == f"{checkout / 'envs' / 'ant.py'}\n", done


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mjxrl").rglob("*.py") if "envs" not in path.parts}
    tasks = {f"mjxrl/envs/{path.name}" for path in (ROOT / "envs").glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == modules | tasks
    [sources] = built.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert "envs/ant.py" in kept and not any(name.startswith(("tests/", "benchmarks/")) for name in kept)


def test_uv_installs_the_versions_that_pip_does() -> None:
    """`make lock` makes them equal."""

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name.strip()).lower()

    pins = [line.partition("#")[0].split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    ours = {plain(pin[0]): pin[1].strip() for pin in pins if len(pin) == 2}
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    theirs = {plain(each["name"]): each["version"] for each in locked if "registry" in each["source"]}
    assert {name: theirs[name] for name in ours.keys() & theirs.keys()} == {
        name: ours[name] for name in ours.keys() & theirs.keys()
    }
    [us] = [each for each in locked if each["name"] == "mjxrl"]
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(us["optional-dependencies"]) == set(told["optional-dependencies"])
    assert {each["name"] for each in us["dependencies"]} == {plain(Requirement(r).name) for r in told["dependencies"]}


@pytest.mark.slow
def test_what_is_installed_from_the_wheel_trains(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)  # a pure wheel is its own installation
    words = ["train", "--env", "Pendulum-v1", "--device", "cpu", "--total-steps", "400", "--eval.final-episodes", "1"]
    done = python(TRAIN, site, empty, *words, "--learner.no-compile", "--learner.threads", "1", "--run-dir", "run")
    assert done.returncode == 0 and "trained policy" in done.stdout, done
    assert (empty / "run" / "final.json").exists()
