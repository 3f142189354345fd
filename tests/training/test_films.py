"""Training with films is the same training; what was best so far is there to see, and no film ever stops a run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from mjxrl.cli.parse import parse_config
from mjxrl.errors import UnavailableError
from mjxrl.machine import graphics
from mjxrl.training import films
from mjxrl.training.launch import train as launch
from tests.helpers.opengl import need_opengl
from tests.helpers.small_runs import rows_of, small, train


@pytest.fixture(autouse=True)
def _can_film() -> None:
    need_opengl()
    pytest.importorskip("imageio_ffmpeg", reason="the encoder is missing: pip install 'mjxrl[film]'")


def run(path: Path, film: bool) -> Path:
    evaluation = {"every": 80, "episodes": 2, "final_episodes": 0, "film": film}
    return train(small("td3", run_dir=path, total_steps=320, log={"every": 320}, eval=evaluation))


def gifs(run_dir: Path) -> list[Any]:
    """What TensorBoard shows of films: step, width, height and encoded_image_string of each."""
    events = EventAccumulator(str(run_dir), size_guidance={IMAGES: 0}).Reload()
    return events.Images("eval/film") if "eval/film" in events.Tags()[IMAGES] else []


def test_each_new_best_is_filmed_and_nothing_else_changes(tmp_path: Path) -> None:
    with_films, without = (run(tmp_path / name, film) for name, film in (("with", True), ("without", False)))
    assert rows_of(with_films) == rows_of(without) and not (without / "films").exists()
    best, bests = -np.inf, []
    for row in rows_of(with_films):
        if row["eval/return"] and float(row["eval/return"]) > best:
            best = float(row["eval/return"])
            bests.append(int(row["step"]))
    expected = {f"step_{step}.{ending}" for step in bests for ending in ("mp4", "gif")}
    assert {path.name for path in (with_films / "films").iterdir()} == expected
    shown = gifs(with_films)
    assert [gif.step for gif in shown] == bests and (shown[0].width, shown[0].height) == (160, 120)
    with Image.open(io.BytesIO(shown[0].encoded_image_string)) as gif:
        assert gif.size == (160, 120) and gif.n_frames == 10  # type: ignore[attr-defined] (every other of 20 steps)


def test_a_film_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(films, "film", full)
    path = run(tmp_path / "run", True)
    assert int(rows_of(path)[-1]["step"]) == 320 and not gifs(path)
    assert "no film of the evaluation at 80 steps: No space left" in capsys.readouterr().out


def test_what_is_missing_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UnavailableError, match=r"--eval\.film: .*pip install 'mjxrl\[film\]'"):
        launch(small("td3", run_dir=tmp_path / "run", eval={"film": True}))
    assert not (tmp_path / "run").exists()


def test_a_machine_that_cannot_draw_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(graphics, "problem", lambda: graphics.WITHOUT_OPENGL)
    with pytest.raises(SystemExit):
        parse_config(["--eval.film", "--device", "cpu"])
    assert capsys.readouterr().err == f"error: --eval.film: {graphics.WITHOUT_OPENGL}\n"
