"""Studies, with a stand-in for the training process."""

from __future__ import annotations

import ast
import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from mjxrl.config.presets import default_config
from mjxrl.errors import RunError
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.tuning.plan import Plan

optuna = pytest.importorskip("optuna", reason="Optuna is missing: pip install 'mjxrl[sweep]'")

from mjxrl.tuning import study  # noqa: E402


def plan_of(folder: Path, **changes: Any) -> Plan:
    config = default_config("Pendulum-v1", "sac", device="cpu", max_minutes=1)
    plan = Plan(
        folder / "study", config, ("--env", "Pendulum-v1"), ("learner.gamma", "learner.tau"), 1.0, (100, 101), 6
    )
    return dataclasses.replace(plan, **changes)


class Trainings:
    """Runs that are over at once; the score grows with the distance of gamma from 0.98, the preset's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[list[str]] = []
        self.terminated = 0
        self.ends_with: dict[int, int] = {}
        """Exit status by number of the run; those runs leave half of themselves."""
        monkeypatch.setattr(study.subprocess, "Popen", self.start)
        monkeypatch.setattr(study, "POLL_S", 0)

    def start(self, command: list[str], **_: Any) -> Trainings:
        words = command[3:]
        self.words.append(words)
        told = dict(zip(words[::2], words[1::2], strict=False))
        path, score = Path(told["--run-dir"]), abs(float(told["--learner.gamma"]) - 0.98) * 1000
        assert not path.exists()
        self.returncode, self._polls = self.ends_with.get(len(self.words), 0), 0
        with MetricsLogger(path, total_steps=10) as logger:
            for step in range(1, 11):
                logger.log(step, {"eval/return": score + step, "time/elapsed_s": 6.0 * step})
        if not self.returncode:
            (path / "final.json").write_text(json.dumps({"trained": {"mean_return": score}}))
        return self

    def poll(self) -> int | None:
        self._polls += 1
        return None if self._polls == 1 else self.returncode

    def terminate(self) -> None:
        self.terminated += 1

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_study_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, runs, said = plan_of(tmp_path), Trainings(monkeypatch), []
    runs.ends_with = {4: 128 + signal.SIGTERM}  # the second seed of the second trial
    with pytest.raises(KeyboardInterrupt):
        study.run(plan, said.append)
    found = study.run(plan, said.append)
    runs_made = [dict(zip(words[::2], words[1::2], strict=False)) for words in runs.words]
    places = [told["--run-dir"] for told in runs_made]
    assert places[3] == places[4] and len(set(places)) == len(places) - 1  # that run again, none of the others
    assert [told["--seed"] for told in runs_made[:5]] == ["100", "101", "100", "101", "101"]
    states = [trial.state.name for trial in found.trials]
    assert states.count("FAIL") == 1 and states.count("COMPLETE") + states.count("PRUNED") == 6
    assert found.trials[2].params == found.trials[1].params
    assert len({str(trial.params) for trial in found.trials[2:]}) == 5  # nothing is drawn twice
    assert float(runs_made[0]["--learner.gamma"]) == plan.config.learner.gamma  # the preset comes first

    before = len(runs.words)
    assert study.run(plan, said.append).best_value == found.best_value and len(runs.words) == before
    row = ast.literal_eval("{" + study.report(found, plan) + "}")[("laptop", "Pendulum-v1", "sac")]
    assert row["learner"]["gamma"] == found.best_trial.user_attrs["values"]["learner.gamma"]
    assert f"# seeds 100, 101, 1 minutes: {found.best_value:.1f} so, 0.0 without" in study.report(found, plan)
    with pytest.raises(RunError, match="allowed: another folder, or what it was begun with: --env Pendulum-v1"):
        study.run(dataclasses.replace(plan, minutes=2.0), said.append)
    assert [file.read_bytes()[:4] for file in study.plot(found, plan.folder)] == [b"\x89PNG"] * 3


def test_a_run_whose_curve_is_behind_is_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, said = Trainings(monkeypatch), []
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    found = study.run(plan_of(tmp_path, trials=2), said.append)
    assert [trial.state.name for trial in found.trials] == ["COMPLETE", "PRUNED"]
    assert (runs.terminated, len(runs.words)) == (1, 3)
    # what was reported: the curve, then the mean score of the seeds so far
    assert found.trials[0].intermediate_values[10] == 0
    assert found.trials[0].intermediate_values[3] == 2


def test_settings_that_cannot_be_trained_are_given_up_and_wrong_flags_end_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Trainings(monkeypatch)
    runs.ends_with = {2: 1}
    found = study.run(plan_of(tmp_path, trials=1), lambda _: None)
    assert [trial.state.name for trial in found.trials] == ["PRUNED"] and study.report(found, plan_of(tmp_path)) == ""
    runs.ends_with = {3: 2}
    with pytest.raises(RunError):
        study.run(plan_of(tmp_path, trials=2), lambda _: None)


def test_a_curve_is_the_last_evaluation_before_each_tenth_of_the_time() -> None:
    rows = [
        {"step": 1.0, "time/elapsed_s": 5.0, "eval/return": 1.0},
        {"step": 2.0, "time/elapsed_s": 13.0},
        {"step": 3.0, "time/elapsed_s": 25.0, "eval/return": 3.0},
        {"step": 4.0, "time/elapsed_s": 31.0},
        {"step": 5.0, "time/elapsed_s": 60.0},
    ]
    assert study.curve(rows, minutes=1.0) == {2: 1.0, 4: 1.0, 5: 3.0}
    assert study.curve([], minutes=1.0) == {}
