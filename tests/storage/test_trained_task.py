"""A run keeps its task: it moves with its folder, evaluates from anywhere, and a task that changed is not resumed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mjxrl.cli import evaluate, export
from mjxrl.cli import train as command
from mjxrl.cli.parse import parse_config
from mjxrl.envs import task_class
from mjxrl.storage import trained_task
from mjxrl.storage.run_dir import load_config
from tests.helpers.small_runs import small, train

TASK = """
from pathlib import Path
from typing import ClassVar
from mjxrl.envs.task import Task


class Slide(Task):
    xml_file: str = str(Path(__file__).parent / "slide.xml")
    max_episode_steps: int = 20
    goal: float = 0.5
    weight: float = 1.0
    note: str = str(Path(__file__).parent / "note.txt")

    def reward(self, xp, before, after, action):
        return {"near": -xp.abs(after.qpos[:, 0] - self.goal)}
"""
XML = """
<mujoco>
  <include file="parts/floor.xml"/>
  <worldbody>
    <body><joint name="slide" type="slide" axis="1 0 0"/><geom name="ball" size="0.1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
TETRAHEDRON = "\n".join(["v 0 0 0", "v 1 0 0", "v 0 1 0", "v 0 0 1", "f 1 3 2", "f 1 2 4", "f 1 4 3", "f 2 3 4"])
FLOOR = '<mujoco><worldbody><geom type="plane" size="1 1 1" pos="0 0 -1"/></worldbody></mujoco>'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a task, its MJCF and a run of it in `run`; the module is not imported any more."""
    folder = tmp_path / "project"
    (folder / "parts").mkdir(parents=True)
    (folder / "slides.py").write_text(TASK)
    (folder / "slide.xml").write_text(XML)
    (folder / "parts" / "floor.xml").write_text(FLOOR)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    keywords: dict[str, Any] = {"weight": 2.0}
    task = task_class("slides:Slide")(**keywords)
    changes = {"env": "slides:Slide", "task": task, "eval": {"every": 0, "final_episodes": 0}}
    train(small("td3", run_dir=folder / "run", total_steps=320, checkpoint={"every": 160}, **changes))
    forget()
    yield folder
    forget()


def forget() -> None:
    """Let the next import of the task read its file again."""
    sys.modules.pop("slides", None)
    importlib.invalidate_caches()
    sys.path[:] = [folder for folder in sys.path if not (Path(folder) / "slides.py").exists() and Path(folder).exists()]


def said(main, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and what a program wrote; a refusal is one line."""
    sys.argv = ["mjxrl", *words]
    capsys.readouterr()
    try:
        status = main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert status == 0 or (err.count("\n") == 1 and err.startswith("error: ")), err
    return status, out + err


def test_only_what_differs_from_the_defaults_is_stored(project: Path) -> None:
    saved = json.loads((project / "run" / "config.json").read_text())["config"]
    assert saved["task"] == {"weight": 2.0}


def test_a_moved_project_and_a_moved_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved, run = project.rename(project.with_name("moved")), project.with_name("archive") / "run"
    run.parent.mkdir()
    (moved / "run").rename(run)
    monkeypatch.chdir(run.parent)
    status, line = said(evaluate.main, capsys, "run")
    assert status == 2 and f"as in PYTHONPATH={project}" in line
    status, line = said(export.main, capsys, "run")
    assert status == 2 and f"as in PYTHONPATH={project}" in line
    status, line = said(command.main, capsys, "--resume", "run", "--total-steps", "480")
    assert status == 2 and f"as in PYTHONPATH={project}" in line

    monkeypatch.syspath_prepend(str(moved))
    status, text = said(evaluate.main, capsys, "run", "--episodes", "2", "--json")
    assert status == 0 and json.loads(text)["lengths"] == [20, 20]
    assert said(export.main, capsys, "run")[0] == 0
    assert said(command.main, capsys, "--resume", "run", "--total-steps", "480")[0] == 0
    assert load_config(run).task.xml_file == str(moved / "slide.xml")


def test_the_model_that_is_kept_replaces_a_file_that_is_gone(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "slide.xml").unlink()
    config = load_config(project / "run")
    assert config.task.xml_file == str(project / "run" / "model.mjb")
    assert trained_task.model_hash(config.task.model)
    for main, words in (
        (evaluate.main, ["run", "--episodes", "1"]),
        (export.main, ["run"]),
        (command.main, ["--resume", "run", "--total-steps", "480"]),
    ):
        assert said(main, capsys, *words)[0] == 0

    (project / "run" / "model.mjb").unlink()
    for main, words in ((evaluate.main, ["run"]), (export.main, ["run"]), (command.main, ["--resume", "run"])):
        status, line = said(main, capsys, *words)
        assert status == 2 and "model.mjb is gone" in line and "--task.xml-file" in line
    elsewhere = project.with_name("elsewhere.xml")
    elsewhere.write_text(XML.replace("parts/", f"{project}/parts/"))
    where = ["--task.xml-file", str(elsewhere)]
    assert said(evaluate.main, capsys, "run", "--episodes", "1", *where)[0] == 0
    assert said(export.main, capsys, "run", *where)[0] == 0
    assert said(command.main, capsys, "--resume", "run", "--total-steps", "640", *where)[0] == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "difference"),
    [
        ("slides.py", "goal: float = 0.5", "goal: float = 0.25", "keyword goal is 0.25, was 0.5"),
        ("slides.py", "steps: int = 20", "steps: int = 30", "keyword max_episode_steps is 30, was 20"),
        ("slide.xml", 'mass="1"', 'mass="1.001"', "the model compiles to other body_inertia, body_mass"),
        ("parts/floor.xml", "-1", "-2", "the model compiles to other geom_pos"),
    ],
)
def test_a_task_that_changed_is_not_resumed(
    project: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, difference: str
) -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    before = (project / "run" / "config.json").read_bytes()
    status, line = said(command.main, capsys, "--resume", "run", "--total-steps", "480")
    assert status == 2 and line.startswith("error: --resume run: its task has changed: ") and difference in line
    assert (project / "run" / "config.json").read_bytes() == before

    trained = load_config(project / "run", as_trained=True).task  # what is scored and exported
    assert (trained.goal, trained.max_episode_steps, trained.weight) == (0.5, 20, 2.0)
    assert trained.model.body_mass[1] == 1 and trained.model.geom_pos[0, 2] == -1
    if file.endswith("xml"):
        model = ["--task.xml-file", "run/../run/model.mjb"]
        assert said(command.main, capsys, "--resume", "run", "--total-steps", "480", *model)[0] == 2  # a bare name
        model[1] = "./run/model.mjb"
        assert said(command.main, capsys, "--resume", "run", "--total-steps", "480", *model)[0] == 0


def test_a_run_of_before_the_task_was_noted_resumes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project / "run" / "config.json"
    content = json.loads(file.read_text())
    del content["config"]["trained_task"], content["sha256"]
    content["config"]["task"] |= {"xml_file": str(project / "slide.xml"), "goal": 0.5}
    file.write_text(json.dumps(content))
    (project / "run" / "model.mjb").unlink()
    assert said(command.main, capsys, "--resume", "run", "--total-steps", "480")[0] == 0
    assert (project / "run" / "model.mjb").is_file()


def test_the_hash_is_the_same_in_every_process_and_place(tmp_path: Path) -> None:
    code = "import sys, mujoco; from mjxrl.storage.trained_task import model_hash; "
    code += "print(model_hash(mujoco.MjModel.from_xml_path(sys.argv[1])))"
    hashes = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "a.obj").write_text(
            "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
        )
        mesh = f'<asset><mesh name="a" file="{folder}/parts/a.obj"/></asset>'  # a path of its own
        (folder / "model.xml").write_text(
            f'<mujoco>{mesh}<worldbody><body><geom type="mesh" mesh="a"/></body></worldbody></mujoco>'
        )
        done = subprocess.run([sys.executable, "-c", code, str(folder / "model.xml")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_a_resumed_command_line_may_say_where_the_model_is(project: Path) -> None:
    config = parse_config(["--resume", "run", "--task.xml-file", "./run/model.mjb"])
    assert config.task.xml_file == str(project / "run" / "model.mjb") and config.task.weight == 2.0
