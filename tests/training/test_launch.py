"""What cannot be trained is refused in one line, and a new run leaves no folder behind."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mjxrl.cli import train as command
from mjxrl.config import Config
from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.errors import Refusal, RunError
from mjxrl.policy.evaluation import EvalResult, evaluate_run
from mjxrl.training.launch import train as launch
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.vector_env import VectorEnv
from tests.helpers.small_runs import Brief, rows_of, small, train

CHEETAH = {"env": "HalfCheetah-v5", "task": HalfCheetah()}
NO_RANGE = """
<mujoco>
  <worldbody><body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body></worldbody>
  <actuator><motor joint="slide"/></actuator>
</mujoco>
"""


def refusal(config: Config, path: Path) -> str:
    with pytest.raises(Refusal) as error:
        launch(config)
    assert not path.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_physics_that_the_backend_has_not(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = small("td3", run_dir=path, backend="auto", physics={"accuracy": "fast"}, **CHEETAH)
    assert "fast" in refusal(config, path)


def test_a_model_that_cannot_be_simulated(tmp_path: Path) -> None:
    path, xml = tmp_path / "run", tmp_path / "model.xml"
    for text, wanted in (("no XML", "XML"), (NO_RANGE, "ctrlrange")):
        xml.write_text(text)
        task = HalfCheetah(xml_file=str(xml))
        line = refusal(small("td3", run_dir=path, env="HalfCheetah-v5", task=task), path)
        assert line.startswith("--env HalfCheetah-v5") and wanted in line


def test_a_bug_in_a_task_keeps_its_traceback(tmp_path: Path) -> None:
    class Broken(Brief):
        def reward(self, xp, before, after, action):
            return {"sum": after.qpos + xp.zeros(5)}

    with pytest.raises(ValueError, match="broadcast") as error:
        launch(small("td3", run_dir=tmp_path / "run", env=f"{__name__}:Broken", task=Broken()))
    assert error.traceback[-1].name == "reward" and not isinstance(error.value, Refusal)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_size(tmp_path: Path) -> None:
    """And of another kind: the flags that fit are named."""
    first, path = train(small("td3", run_dir=tmp_path / "first", total_steps=80)), tmp_path / "run"
    learner = {"actor_hidden": (32,), "num_critics": 1, "normalize_obs": True}
    line = refusal(small("td3", run_dir=path, init_from=first, learner=learner), path)
    assert line == (
        f"--init-from {first}: its networks are others: allowed: with --learner.actor-hidden 16 "
        "--learner.num-critics 2 --learner.no-normalize-obs"
    )


def test_a_crash_after_the_first_numbers_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: Trainer) -> None:
        raise ValueError("in the evaluation")

    monkeypatch.setattr(Trainer, "evaluate", crash)
    with pytest.raises(ValueError, match="in the evaluation"):
        launch(small("td3", run_dir=tmp_path / "run"))
    assert (tmp_path / "run" / "metrics.csv").stat().st_size > 0


@pytest.mark.parametrize("bug", [ValueError("no such gait"), FileNotFoundError("gait.npy")])
def test_a_bug_in_a_task_keeps_its_traceback_where_a_run_goes_on(
    bug: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reset(self: VectorEnv, seed: int | None = None) -> Any:
        raise bug  # as from the task's own function

    path = train(small("td3", run_dir=tmp_path / "run", total_steps=80))
    monkeypatch.setattr(VectorEnv, "reset", reset)
    monkeypatch.setattr(sys, "argv", ["mjxrl-train", "--resume", str(path), "--total-steps", "160"])
    with pytest.raises(type(bug)) as error:
        command.main()
    assert error.value is bug and error.traceback[-1].name == "reset"


def test_what_was_saved_by_other_options_does_not_fit(tmp_path: Path) -> None:
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=80))
    with pytest.raises(RunError, match=r"^--resume \S+: step_80: .*actor") as error:
        launch(small("td3", resume=path, learner={"actor_hidden": (32,)}))
    assert "\n" not in str(error.value)


def test_a_run_may_live_in_a_thread(tmp_path: Path) -> None:
    """Where Python gives nobody signals to listen to."""
    config = small("td3", run_dir=tmp_path / "run", total_steps=80)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(launch, config).result() == 0


def test_what_compiles_is_told_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiles(self: VectorEnv, *_: Any) -> None:
        raise RuntimeError("compiling")

    monkeypatch.setattr(VectorEnv, "program_bytes", compiles)
    monkeypatch.setattr(VectorEnv, "reset", compiles)
    monkeypatch.setattr("mjxrl.machine.threads.others_at_work", lambda threads: None)  # a busy machine is told, too
    with pytest.raises(RuntimeError, match="compiling"):
        launch(small("td3", run_dir=tmp_path / "run", backend="jax"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        "compiling the reset and the step of 8 worlds of tests.helpers.small_runs:Brief for jax on cpu"
    )


def test_the_best_policy_is_scored_beside_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    falling = iter([2.0, 1.0])
    monkeypatch.setattr(Trainer, "evaluate", lambda self: EvalResult([next(falling)], [20]))
    path = train(small("td3", run_dir=tmp_path / "run", eval={"every": 320, "final_episodes": 3}))
    final, said = json.loads((path / "final.json").read_text()), capsys.readouterr().out
    for who, which in (("trained", "step_640"), ("best", "best_320")):
        assert final[who]["returns"] == evaluate_run(path, episodes=3, which=which).returns
    better = max(("trained", "best"), key=lambda who: final[who]["mean_return"])
    assert final["better"] == better and final["best"] != final["trained"]
    assert f"the better one is the {better} policy: --checkpoint" in said
    assert final["updates"] > 0 and "no update" not in said


def test_a_run_that_made_no_update_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(small("td3", run_dir=tmp_path / "run", total_steps=64))
    final = json.loads((path / "final.json").read_text())
    assert final["updates"] == 0 and final.keys() == {"steps", "updates", "trained", "random"}
    assert "no update was made: the trained policy is the one that the run began with" in capsys.readouterr().out


def test_a_plain_short_run_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--env Pendulum-v1 --algo sac --total-steps 400 --device cpu --run-dir run --learner.threads 1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mjxrl-train", *words.split()])
    assert command.main() == 0
    final, rows = json.loads(Path("run/final.json").read_text()), rows_of(Path("run"))
    assert final["updates"] > 250 and len(rows) == 20
