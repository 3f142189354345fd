"""Several seeds in one command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mjxrl.cli import seeds
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import common_curves, plot_seeds, read_metrics

CPU = ["--device", "cpu"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)


def test_each_seed_gets_its_folder_and_all_other_flags(tmp_path: Path) -> None:
    argv = ["--env", "Ant-v5", "--seeds", "3", *CPU, "--seed=4", "--run-dir", "out", "--learner.actor-hidden", "8", "8"]
    folder, numbers, flags = seeds.parse_options(argv)
    assert (folder, numbers) == (Path("out"), [4, 5, 6])
    assert flags == ["--env", "Ant-v5", *CPU, "--learner.actor-hidden", "8", "8"]
    folder, numbers, _ = seeds.parse_options(["--seeds=2", *CPU])
    assert numbers == [0, 1] and folder.name.startswith("Ant-v5-sac-") and folder.name.endswith("-seeds")


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("--env Ant-v5", "--seeds (missing): allowed: a whole number, at least 1"),
        ("--seeds 0", "--seeds 0: allowed"),
        ("--seeds many", "--seeds many: allowed"),
        ("--seeds 2 --resume x", "--resume: not with several seeds"),
        ("--seeds 2 --algo ppo", "--algo ppo: allowed"),
    ],
)
def test_refusals(words: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        seeds.parse_options([*words.split(), *CPU])
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith(f"error: {start}")


def test_runs_seeds_one_after_the_other_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    class Done:
        returncode = 0

    def run(words: list[str]) -> Done:
        """Stands in for the training process."""
        calls.append(words[3:])
        done = Done()
        path = Path(words[words.index("--resume" if "--resume" in words else "--run-dir") + 1])
        if len(calls) == 2:  # the second seed is interrupted
            (path / "checkpoints" / "step_80").mkdir(parents=True)
            done.returncode = 130
            return done
        with MetricsLogger(path, total_steps=20) as logger:
            for step in (10, 20):
                logger.log(step, {"eval/return": step * len(calls)})
        (path / "final.json").write_text(json.dumps({"trained": {"mean_return": 10.0 * len(calls)}}))
        return done

    monkeypatch.setattr(seeds.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["mjxrl-seeds", "--seeds", "2", *CPU, "--run-dir", "out"])
    assert seeds.main() == 130
    assert calls == [[*CPU, "--seed", str(s), "--run-dir", f"out/seed_{s}"] for s in (0, 1)]
    assert seeds.main() == 0
    assert calls[2:] == [["--resume", "out/seed_1"]]
    assert json.loads(Path("out/seeds.json").read_text()) == {
        "seeds": [0, 1], "mean_returns": [10.0, 30.0], "mean": 20.0, "std": pytest.approx(200**0.5),
    }  # fmt: skip
    assert "mean return over 2 seeds: 20.0 ± 14.1" in capsys.readouterr().out
    assert Path("out/curve.png").read_bytes().startswith(b"\x89PNG")


def test_curves_cover_what_all_runs_cover() -> None:
    runs = [
        [{"step": 0.0, "eval/return": 0.0}, {"step": 10.0, "eval/return": 10.0}, {"step": 20.0, "eval/return": 20.0}],
        [{"step": 5.0, "eval/return": 1.0}, {"step": 15.0, "eval/return": 3.0, "train/return": 9.0}],
    ]
    steps, returns = common_curves(runs)
    np.testing.assert_array_equal(steps, [5, 10, 15])
    np.testing.assert_array_equal(returns, [[5, 10, 15], [1, 2, 3]])
    steps, returns = common_curves([runs[0], []])
    assert len(steps) == 0


def test_the_band_is_one_standard_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    bands = []
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **_: bands.append((low, high)))
    for name, value in (("a", 1.0), ("b", 3.0)):
        with MetricsLogger(tmp_path / name, total_steps=2) as logger:
            logger.log(1, {"train/return": value})
    assert read_metrics(tmp_path / "a")
    plot_seeds({"runs": [tmp_path / "a", tmp_path / "b"]}, tmp_path / "out.svg")
    [(low, high)] = bands
    assert (low.item(), high.item()) == pytest.approx((2 - 2**0.5, 2 + 2**0.5))
