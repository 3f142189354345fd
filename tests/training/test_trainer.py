"""The loop end to end, at a small scale: reproducible, overlapped in a fixed order, and true about episode ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import read_metrics
from mjxrl.training.launch import make_worlds
from mjxrl.training.stopping import Stop
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.worlds import StepResult
from tests.helpers.small_runs import rows_of, small, train

CPU = torch.device("cpu")


@pytest.mark.parametrize(("algo", "backend"), [("td3", "native"), ("sac", "native"), ("td3", "jax")])
def test_two_runs_of_one_seed_give_the_same_metrics(algo: str, backend: str, tmp_path: Path) -> None:
    paths = [train(small(algo, backend=backend, run_dir=tmp_path / name)) for name in ("a", "b")]
    first, second = map(rows_of, paths)
    times = [row["time/elapsed_s"] for row in read_metrics(paths[0])]  # in every row
    assert times == sorted(times) and times[0] > 0
    assert first == second
    assert int(first[-1]["step"]) == 640 and first[0]["train/overflows"] == "0.0"
    assert any(row["eval/return"] for row in first) and any(row["train/return"] for row in first)
    other = rows_of(train(small(algo, backend=backend, run_dir=tmp_path / "c", seed=1)))
    assert other != first


def test_a_run_leaves_what_the_readme_says(tmp_path: Path) -> None:
    path = train(small("sac", run_dir=tmp_path / "run", checkpoint={"every": 320}))
    names = {p.name.split(".")[0] for p in path.iterdir()} - {"mujoco"}
    assert names == {"", "config", "model", "metrics", "events", "checkpoints", "curve", "final"}
    kept = {p.name for p in (path / "checkpoints").iterdir() if not p.name.startswith("best_")}
    assert kept == {"step_320", "step_640"}
    replays = [p.parent.name for p in (path / "checkpoints").glob("step_*/replay.safetensors")]
    assert replays == ["step_640"]
    saved = json.loads((path / "config.json").read_text())
    assert saved["config"]["learner"]["batch_size"] == 32 and saved["versions"]["mujoco"]
    assert saved["resolved"]["device"] == "cpu" and saved["resolved"]["backend"] == "native"


class Recorder:
    """A learner that notes the order in which it is asked things, and what the replay holds at each update."""

    def __init__(self, trainer: Trainer) -> None:
        self.calls: list[str] = []
        self.learner, worlds = trainer.session.learner, trainer.worlds
        for owner, name in ((worlds, "dispatch"), (worlds, "collect"), (trainer.session.replay, "append")):
            self._note(owner, name)

    def _note(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def noted(*args: Any) -> Any:
            self.calls.append(name)
            return original(*args)

        setattr(owner, name, noted)

    def act(self, obs: Tensor, generator: Any = None) -> Tensor:
        self.calls.append("act")
        return self.learner.act(obs, generator)

    def update(self, *args: Any) -> dict[str, Tensor]:
        self.calls.append("update")
        return self.learner.update(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)


def trained(config: Config, tmp_path: Path) -> tuple[Trainer, Recorder]:
    trainer = Trainer(*make_worlds(config, config.machine()), config, tmp_path)
    recorder = Recorder(trainer)
    trainer.session.learner = recorder  # type: ignore[assignment]
    with MetricsLogger(tmp_path, total_steps=config.total_steps) as logger:
        trainer.run(logger, Stop())
    return trainer, recorder


def test_the_step_is_in_flight_during_the_updates(tmp_path: Path) -> None:
    config = small("td3", eval={"every": 0})
    _, recorder = trained(config, tmp_path)
    warmup = config.learner.warmup_steps // config.num_envs
    assert recorder.calls[: 3 * warmup] == ["dispatch", "collect", "append"] * warmup
    assert recorder.calls[3 * warmup :][:10] == ["act", "dispatch", "update", "collect", "append"] * 2


def test_replay_holds_true_final_observations_and_flags(tmp_path: Path) -> None:
    """Truncated transitions lead to the observation before the reset, others to the row after them."""
    config = small("sac", eval={"every": 0}, total_steps=8 * 45)
    trainer = Trainer(*make_worlds(config, config.machine()), config, tmp_path)
    history: list[tuple[Tensor, StepResult]] = []
    replay = trainer.session.replay
    append = replay.append

    def noted(action: Tensor, result: StepResult) -> None:
        history.append((action.clone(), StepResult._make([*(x.clone() for x in result[:6]), {}, {}, None])))
        append(action, result)

    replay.append = noted  # type: ignore[method-assign]
    with MetricsLogger(tmp_path, total_steps=config.total_steps) as logger:
        trainer.run(logger, Stop())
    batch = replay.gather(replay.draw(1, 4000, None)[0], 1, 0.99)
    by_action = {
        tuple(a.tolist()): (step, world) for step, (act, _) in enumerate(history) for world, a in enumerate(act)
    }
    truncations = 0
    for i in range(0, 4000, 7):
        step, world = by_action[tuple(batch.action[i].tolist())]
        result = history[step][1]
        assert torch.equal(batch.next_obs[i], result.final_obs[world])
        assert batch.reward[i] == result.reward[world] and batch.terminated[i] == 0
        truncations += int(result.truncated[world])
    assert truncations > 5


def test_init_from_takes_the_weights_and_nothing_else(tmp_path: Path) -> None:
    first = train(small("td3", run_dir=tmp_path / "first"))
    config = small("td3", run_dir=tmp_path / "second", init_from=first, total_steps=8)
    second = train(config)
    from mjxrl.storage import checkpoint

    old, new = (checkpoint.load(path, "latest", "learner", {}) for path in (first, second))
    assert all(torch.equal(old[name], new[name]) for name in old if name.startswith(("actor.", "critics.")))
    assert new["updates"] == 0 < old["updates"]


def test_minutes_end_a_run(tmp_path: Path) -> None:
    config = small("sac", run_dir=tmp_path / "run", max_minutes=1e-9)
    path = train(config)
    assert (path / "checkpoints" / "step_0").is_dir()
