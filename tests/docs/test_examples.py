"""The tasks and worlds of the guides, taken from their text, train from a stranger's folder."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mjxrl

ROOT = Path(__file__).parents[2]


def example(ending: str, page: str) -> str:
    """The code block of a page that is introduced by a file name with this ending."""
    found = re.search(rf"`\S*{re.escape(ending)}`:\n\n```\w+\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert found, f"{page} shows no file that ends in {ending}"
    return found.group(1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: the guide's two files, and an `envs` package of the user's own."""
    (tmp_path / "crawler_task.py").write_text(example("_task.py", "own-robot.md"))
    (tmp_path / "crawler.xml").write_text(example(".xml", "own-robot.md"))
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("mine = True\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_trains_from_the_command_line(folder: Path) -> None:
    script = ROOT / "scripts" / "train.py"
    flags = "--env crawler_task:Crawler --num-envs 4 --total-steps 400 --learner.warmup-steps 300 --run-dir run"
    words = [
        *flags.split(),
        "--learner.updates-per-step",
        "1",
        "--learner.threads",
        "1",
        "--task.control-weight",
        "0.1",
    ]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "mean return in native" in done.stdout
    scored = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "run", "--backend", "native", "--episodes", "2"]
    assert subprocess.run(scored, capture_output=True, timeout=200).returncode == 0
    assert {p.name for p in folder.iterdir()} - {"__pycache__"} == {"crawler_task.py", "crawler.xml", "envs", "run"}


def test_its_reward_is_what_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    env = mjxrl.make_vec("crawler_task:Crawler", 2, backend="native", control_weight=0.5)
    qpos, qvel = torch.zeros(2, 5), torch.zeros(2, 5)
    qpos[:, 1] = 1.0  # in the air, where nothing holds it
    qvel[0, 0] = 0.7
    env.set_state(qpos, qvel)
    terms = env.step(torch.tensor([[0.0, 0.0], [1.0, -1.0]])).reward_terms
    torch.testing.assert_close(terms["forward"][0], torch.tensor(7.0), atol=0.1, rtol=0)
    torch.testing.assert_close(terms["control"], torch.tensor([0.0, -1.0]))


def test_worlds_written_in_torch_are_trained_on(tmp_path: Path) -> None:
    code = example("rail.py", "own-worlds.md")
    assert len(code.splitlines()) < 40
    # one core's worth: smaller networks learn it as well
    narrow = '"updates_per_step": 8, "actor_hidden": (64,), "critic_hidden": (64, 64)'
    small = code.replace('"updates_per_step": 8', narrow)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", small]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) > 40
    assert "these worlds cannot be saved" in done.stdout and (tmp_path / "runs/rail/metrics.csv").exists()


def test_a_users_envs_and_ours_live_side_by_side(folder: Path) -> None:
    code = "import envs, mjxrl.envs; assert envs.mine and 'Ant-v5' in mjxrl.envs.TASKS"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr


def test_the_task_with_goals_learns_from_hindsight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never rewards a policy that does not reach the point; what a run reports of its episodes' ends is there."""
    for ending in ("_task.py", ".xml"):
        (tmp_path / f"aim{ending}").write_text(example(ending, "goals.md"))
    monkeypatch.chdir(tmp_path)
    flags = "--env aim_task:Aim --algo td3 --num-envs 8 --total-steps 6000 --learner.warmup-steps 400 --run-dir run"
    options = "--learner.no-compile --learner.threads 1 --eval.every 2000 --log.every 1000 --learner.updates-per-step 4"
    words = [sys.executable, str(ROOT / "scripts" / "train.py"), *flags.split(), *options.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["learner/goal_reached"]) > 0.1
    assert 0 <= float(rows[-1]["train/success"]) <= 1 and float(rows[-1]["eval/success"]) >= 0.5
