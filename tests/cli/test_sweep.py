from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mjxrl.cli import sweep
from mjxrl.errors import RunError
from mjxrl.machine import versions

CPU = ["--device", "cpu", "--env", "Pendulum-v1"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)


def test_what_a_command_line_asks_for() -> None:
    plan = sweep.parse_options([*CPU, "--minutes", "2", "--learner.gamma", "0.9", "--seeds", "3", "--trials=4"])
    assert (plan.minutes, plan.seeds, plan.trials) == (2.0, (100, 101, 102), 4)
    assert plan.flags == (*CPU, "--learner.gamma", "0.9", "--seed", "100")
    assert "learner.gamma" not in plan.names and "learner.tau" in plan.names
    assert plan.folder == Path("runs/sweep-Pendulum-v1-sac-2min")
    assert plan.config.max_minutes == 2.0 and plan.config.learner.gamma == 0.9
    assert sweep.parse_options([*CPU, "--seed", "7", "--seeds", "2"]).seeds == (7, 8)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("--trials 0", "--trials 0: allowed: a whole number, at least 1"),
        ("--minutes 0", "--minutes 0.0: allowed: a finite number, above 0"),
        ("--seeds x", "--seeds x: allowed"),
        ("--search learner.gama", "--search learner.gama: allowed: some of learner.actor_lr, "),
        ("--search td3.target_noise", "--search td3.target_noise: allowed: at least one"),
        ("--max-minutes 3", "--max-minutes: not here"),
        ("--algo ppo", "--algo ppo: allowed"),
    ],
)
def test_refusals(words: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep.parse_options([*words.split(), *CPU])
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith(f"error: {start}")
    assert not list(Path.cwd().iterdir())


def test_without_optuna(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(versions, "installed", lambda *_: None)
    with pytest.raises(SystemExit):
        sweep.parse_options(CPU)
    assert "pip install 'mjxrl[sweep]'" in capsys.readouterr().err


def test_the_best_settings_and_the_pictures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = pytest.importorskip("mjxrl.tuning.study", reason="Optuna is missing: pip install 'mjxrl[sweep]'")
    asked = []
    monkeypatch.setattr(study, "run", lambda plan: asked.append(plan) or "the study")
    monkeypatch.setattr(study, "report", lambda found, plan: "a row\n" * (found == "the study"))
    monkeypatch.setattr(study, "plot", lambda found, folder: [folder / "history.png"])
    monkeypatch.setattr(sys, "argv", ["mjxrl-sweep", *CPU, "--trials", "1"])
    assert sweep.main() == 0 and asked[0].trials == 1
    assert capsys.readouterr().out == f"a row\n{asked[0].folder / 'history.png'}\n"

    monkeypatch.setattr(study, "run", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert sweep.main() == 130 and "the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(study, "run", lambda _: (_ for _ in ()).throw(RunError("--study x: allowed: another folder")))
    with pytest.raises(SystemExit):
        sweep.main()
    assert capsys.readouterr().err == "error: --study x: allowed: another folder\n"
