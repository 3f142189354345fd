"""Films of a run, of an exported policy and of random actions: length, speed and size are as asked, and things move."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mjxrl.cli.record import parse_options
from mjxrl.envs import task_class
from mjxrl.envs.task import Task
from mjxrl.errors import PolicyError, Refusal
from mjxrl.policy.export import export_run
from mjxrl.policy.record import Look, cast_of, random_cast, record
from tests.helpers.opengl import need_opengl
from tests.helpers.small_runs import Brief, small, train

av = pytest.importorskip("av", reason="the independent decoder is missing: pip install av")
ROOT = Path(__file__).parents[2]
SMALL = Look((64, 48))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on episodes of 20 steps."""
    need_opengl()
    path = tmp_path_factory.mktemp("record") / "run"
    return train(small("td3", run_dir=path, eval={"every": 160, "final_episodes": 0}, total_steps=320))


def decoded(path: Path) -> tuple[list[np.ndarray], float]:
    """Frames, (H, W, 3), and how many a second."""
    with av.open(path) as film:
        [stream] = film.streams
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)], float(stream.average_rate)


def moving(frames: list[np.ndarray], rows: slice) -> bool:
    """Whether below the words each frame differs from the one before it."""
    return all(np.abs(one[rows].astype(int) - other[rows]).max() > 20 for one, other in itertools.pairwise(frames))


def filmed(task: Task, out: Path, look: Look = SMALL, **how: Any) -> tuple[list[int], list[Path]]:
    result, paths = record(random_cast(task, "Task", 0), out, look, **how)
    return result.lengths, paths


def test_a_run_is_filmed_and_its_exported_policy_just_so(run: Path, tmp_path: Path) -> None:
    latest, best = cast_of(run), cast_of(run, "best")
    assert (best.name, latest.name, best.task) == ("best", "latest", Brief())
    result, [path] = record(best, tmp_path, SMALL, episodes=2)
    assert result.lengths == [20, 20] and path == tmp_path / "best.mp4" and list(tmp_path.iterdir()) == [path]
    frames, fps = decoded(path)
    assert len(frames) == 40 and fps == 20 and frames[0].shape == (48, 64, 3)  # a step takes 0.05 s
    assert moving(frames, slice(30, None))
    export_run(run, which="best", out=tmp_path / "exported")
    exported = cast_of(tmp_path / "exported")
    assert exported.name == "policy"
    again, _ = record(exported, tmp_path / "again", SMALL, episodes=2)
    assert again.returns == pytest.approx(result.returns)


def test_four_at_once_and_the_beginning_as_a_gif(tmp_path: Path) -> None:
    need_opengl()
    ant = task_class("Ant-v5")(max_episode_steps=8)
    lengths, paths = filmed(ant, tmp_path, Look((96, 64)), episodes=1, grid=True, gif=True)
    assert [path.name for path in paths] == ["random.mp4", "random-grid.mp4", "random.gif"]
    assert sorted(tmp_path.iterdir()) == sorted(paths) and len(lengths) == 4
    alone, together = decoded(paths[0])[0], decoded(paths[1])[0]
    assert len(alone) == lengths[0] and len(together) == max(lengths)
    assert together[0].shape == (64, 96, 3)
    panels = [together[5][y : y + 32, x : x + 48] for y in (0, 32) for x in (0, 48)]
    assert all(np.abs(panel.astype(int) - panels[0]).max() > 30 for panel in panels[1:])
    with Image.open(paths[2]) as gif:
        assert gif.size == (48, 32) and gif.n_frames == lengths[0]  # type: ignore[attr-defined]


def test_short_steps_are_left_out_so_that_a_film_keeps_its_robots_time(tmp_path: Path) -> None:
    need_opengl()
    pendulum = task_class("Pendulum-v1")(max_episode_steps=12)  # steps of 0.05 s
    ends = []
    for fps, frames, real in ((7, 4, 20 / 3), (10, 6, 10), (1000, 12, 20)):
        lengths, [path] = filmed(pendulum, tmp_path / str(fps), SMALL._replace(fps=fps), episodes=1)
        film, speed = decoded(path)
        assert lengths == [12] and len(film) == frames and speed == pytest.approx(real, rel=1e-3)
        ends.append(film[-1].astype(int))
    assert all(np.abs(end - ends[2]).mean() < 3 for end in ends)  # the last step, which has the whole return


def test_an_analytic_task_has_its_model_to_show(tmp_path: Path) -> None:
    need_opengl()
    _, [path] = filmed(task_class("Pendulum-v1")(max_episode_steps=9), tmp_path, Look((160, 120)), episodes=1)
    frames, _ = decoded(path)
    assert len(frames) == 9 and moving(frames[4:], slice(45, None)) and (frames[0][45:] > 40).mean() > 0.01


def test_a_policy_of_other_keywords_is_refused(run: Path, tmp_path: Path) -> None:
    export_run(run, out=tmp_path)
    text = (tmp_path / "policy.json").read_text()
    (tmp_path / "policy.json").write_text(text.replace("tests.helpers.small_runs:Brief", "Hopper-v5"))
    with pytest.raises(PolicyError, match="other keywords than Hopper-v5"):
        cast_of(tmp_path)


def test_what_is_refused_leaves_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="--camera nowhere: allowed: free, track"):
        record(cast_of(run), tmp_path / "films", SMALL._replace(camera="nowhere"), episodes=1)
    assert list(tmp_path.iterdir()) == []


def script(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "record.py"), *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env={**os.environ, **variables}
    )


def test_from_the_command_line(tmp_path: Path) -> None:
    """In a folder of the user's, with a task of the user's."""
    need_opengl()
    (tmp_path / "mine.py").write_text(
        "from mjxrl.envs.pendulum import Pendulum\nclass Mine(Pendulum):\n    max_episode_steps = 3\n"
    )
    words = "--env mine:Mine --random --episodes 2 --size 64 48"
    done = script(tmp_path, *words.split(), "--out", "films")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert (
        "episode 2: return -" in done.stdout
        and "in 3 steps" in done.stdout
        and done.stdout.endswith("films/random.mp4\n")
    )
    assert len(decoded(tmp_path / "films" / "random.mp4")[0]) == 6


def test_without_opengl_one_line_names_the_packages_and_nothing_is_left(tmp_path: Path) -> None:
    done = script(tmp_path, "--env", "Pendulum-v1", "--random", MUJOCO_GL="disable")
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []
    assert done.stderr.count("\n") == 1 and "libegl1" in done.stderr and "libosmesa6" in done.stderr
    assert script(tmp_path, "--help", MUJOCO_GL="disable").returncode == 0


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("", ["RUN_DIR: missing"]),
        ("nowhere --fps 0 --seed -1", ["RUN_DIR nowhere", "--seed -1: allowed", "--fps 0: allowed"]),
        ("--env Pendulum-v1", ["--env Pendulum-v1: allowed: with --random"]),
        ("somewhere --env Pendulum-v1 --random", ["--env Pendulum-v1: allowed: without RUN_DIR"]),
        ("--env Pendulun-v1 --random", ["--env Pendulun-v1: no such task (did you mean Pendulum-v1?)"]),
        ("--env Pendulum-v1 --random --size 63 64 --episodes 0", ["--episodes 0: allowed", "--size 63 64: allowed"]),
    ],
)
def test_wrong_words_get_a_line_each(words: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    need_opengl()
    with pytest.raises(SystemExit) as stop:
        parse_options(words.split())
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(said) == len(lines), said
    assert all(f"error: {line}" in one for line, one in zip(lines, said, strict=True)), said
