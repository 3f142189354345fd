"""Studies against the clock: each trial trains some seeds for some minutes, and Optuna chooses what to try next.

All is in the study's folder: `study.db`, and a folder for each setting that was tried, named by a digest of it, with a
run for each seed. So a study that was killed goes on, and trains nothing again that was finished.
"""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState

from mjxrl.config.rules import as_flags
from mjxrl.errors import RunError
from mjxrl.reporting.plotting import read_metrics
from mjxrl.storage.files import digest
from mjxrl.tuning import space
from mjxrl.tuning.plan import Plan

PARTS = 10  # of a run's time: after each its curve is compared with those of other trials
POLL_S = 0.5
_TRAIN = "import sys; from mjxrl.cli.train import main; sys.exit(main())"


def run(plan: Plan, say: Callable[[str], None] = print) -> optuna.Study:
    """Try until there are `plan.trials`; returns the study.

    Raises:
        RunError: the folder holds another study.
        KeyboardInterrupt: a run was stopped; the same call goes on with its settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="study",
        storage=f"sqlite:///{plan.folder / 'study.db'}",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        direction="maximize",
        load_if_exists=True,
    )
    known = study.user_attrs.get("plan")
    if known is None:
        study.set_user_attr("plan", plan.described())
        study.enqueue_trial(space.as_they_are([*plan.names], plan.config))  # what is to be beaten
    elif known != plan.described():
        before = " ".join([*known["flags"], f"--minutes {known['minutes']:g} --seeds {len(known['seeds'])}"])
        raise RunError(f"--study {plan.folder}: allowed: another folder, or what it was begun with: {before}")
    for stale in study.get_trials(states=[TrialState.RUNNING]):  # of a start that was killed
        study.tell(stale.number, state=TrialState.FAIL)
        study.enqueue_trial(stale.params)
    study.sampler = optuna.samplers.TPESampler(seed=plan.seeds[0] + len(study.trials))  # else it draws the same again
    while len(study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED])) < plan.trials:
        trial = study.ask()
        try:
            study.tell(trial, _score_of(trial, plan, say))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
    return study


def report(study: optuna.Study, plan: Plan) -> str:
    """The best settings, as a row to paste into config/presets.py; empty if no trial came to its end."""
    ended = study.get_trials(states=[TrialState.COMPLETE])
    if not ended:
        return ""
    best = study.best_trial
    row = space.as_row(best.user_attrs["values"], plan.config)
    plain = [trial.value for trial in ended if not space.as_row(trial.user_attrs["values"], plan.config)]
    beaten = f", {plain[0]:.1f} without" if row and plain else ""
    remark = f"seeds {', '.join(map(str, plan.seeds))}, {plan.minutes:g} minutes: {best.value:.1f} so{beaten}"
    return space.in_presets(row, plan.config, remark)


def plot(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw the scores, the curves and, of three trials or more, which settings matter; returns the images."""
    import matplotlib as mpl

    mpl.use("Agg")
    from optuna.visualization import matplotlib as pictures

    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        drawn = {"history": pictures.plot_optimization_history(study)}
        drawn["curves"] = pictures.plot_intermediate_values(study)
        if len(study.get_trials(states=[TrialState.COMPLETE])) >= 3:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            drawn["importances"] = pictures.plot_param_importances(study, evaluator=evaluator)
    files = []
    for name, axes in drawn.items():
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
        files.append(folder / f"{name}.png")
    return files


def curve(rows: Sequence[Mapping[str, float]], minutes: float) -> dict[int, float]:
    """The last evaluation before the end of each tenth of a run's time, 1 to 9, as far as it has come."""
    found: dict[int, float] = {}
    latest = None
    for row in rows:
        part = int(row["time/elapsed_s"] / (60 * minutes) * PARTS) if "time/elapsed_s" in row else 0
        if latest is not None and 0 < part < PARTS:
            found.setdefault(part, latest)
        latest = row.get("eval/return", latest)
    return found


def _score_of(trial: optuna.Trial, plan: Plan, say: Callable[[str], None]) -> float:
    """The mean final score over the seeds.

    Raises:
        TrialPruned: the curve is worse than most, or the settings cannot be trained.
    """
    values = space.chosen(trial, [*plan.names], plan.config)
    trial.set_user_attr("values", values)
    folder = plan.folder / digest(values)[:8]
    say(f"trial {trial.number}: {folder.name} {' '.join(as_flags(values))}")
    scores: list[float] = []
    for nth, seed in enumerate(plan.seeds):

        def behind(part: int, value: float, nth: int = nth) -> bool:
            trial.report(statistics.fmean([*scores, value]), nth * PARTS + part)
            return trial.should_prune()

        path = folder / f"seed_{seed}"
        words = [*plan.flags, *as_flags(values), "--seed", str(seed), "--run-dir", str(path)]
        words += ["--max-minutes", str(plan.minutes), "--checkpoint.no-replay"]  # no run is gone on with
        score = _score(path) if _done(path) else _train(path, words, plan.minutes, behind)
        if score is None:
            say(f"trial {trial.number}: given up in seed {seed}")
            raise optuna.TrialPruned
        scores.append(score)
        trial.report(statistics.fmean(scores), (nth + 1) * PARTS)
    say(f"trial {trial.number}: {statistics.fmean(scores):.1f} ({', '.join(f'{score:.1f}' for score in scores)})")
    return statistics.fmean(scores)


def _train(path: Path, words: list[str], minutes: float, behind: Callable[[int, float], bool]) -> float | None:
    """Train in a process of its own, until its time is over or it is `behind`; returns the score, None without one."""
    shutil.rmtree(path, ignore_errors=True)  # half of a run, whose time nobody knows
    path.parent.mkdir(exist_ok=True)
    reported: set[int] = set()
    with path.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-c", _TRAIN, *words], stdout=log, stderr=subprocess.STDOUT)
        given_up = False
        while process.poll() is None:
            time.sleep(POLL_S)
            for part, value in curve(_rows(path), minutes).items():
                if part not in reported and not given_up:
                    reported.add(part)
                    given_up = behind(part, value)
                    if given_up:
                        process.terminate()
    if not given_up and process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise KeyboardInterrupt
    if process.returncode == 2:
        raise RunError(
            path.with_suffix(".log").read_text(encoding="utf-8", errors="replace").strip().rpartition("error: ")[2]
        )
    return _score(path) if _done(path) and not given_up else None


def _rows(path: Path) -> list[dict[str, float]]:
    """Its metrics so far; none before the first, nor on Windows in the moment in which the run renames them."""
    with suppress(FileNotFoundError, PermissionError):
        return read_metrics(path)
    return []


def _done(path: Path) -> bool:
    return (path / "final.json").is_file()


def _score(path: Path) -> float | None:
    return json.loads((path / "final.json").read_text(encoding="utf-8"))["trained"]["mean_return"]
