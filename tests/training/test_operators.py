"""What an iteration with preset fast-2025 launches: how many operators, and none that waits for a GPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from mjxrl.config import Algorithm
from mjxrl.config.presets import default_config, merged
from mjxrl.learners.batches import Draws
from mjxrl.learners.graphs import UpdateGraphs
from mjxrl.replay import Indices
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.training.stopping import Stop
from mjxrl.training.trainer import Trainer
from mjxrl.worlds.worlds import StepResult, Worlds

WORLDS, OBS, ACTION = 8, 5, 2
MOST = {"sac": 1400, "td3": 1300}  # operators of an eager iteration
MOST_CAPTURED = 40  # launches to act and to update
# what hands a number to the host, or has a shape that depends on numbers: a GPU would be waited for
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "bincount"}


class Still(Worlds):
    """Worlds in which nothing happens, with reward terms as an ant has them."""

    def __init__(self) -> None:
        self.num_envs, self.obs_size, self.action_size, self.device = WORLDS, OBS, ACTION, torch.device("cpu")
        self.max_episode_steps = 1000
        obs, reward, no = torch.randn(WORLDS, OBS), torch.randn(WORLDS), torch.zeros(WORLDS, dtype=torch.bool)
        terms: dict[str, torch.Tensor] = dict.fromkeys(("forward", "ctrl", "contact", "survive"), reward)
        self._result = StepResult(obs, reward, no, no, obs, ~no, terms, {}, torch.zeros(WORLDS, dtype=torch.int64))

    def reset(self, seed: int | None = None) -> torch.Tensor:
        return self._result.obs

    def dispatch(self, action: torch.Tensor) -> None: ...

    def collect(self) -> StepResult:
        return self._result


class Launches(TorchDispatchMode):
    """Counts operators by name, but for those that only view."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names[func.name().removeprefix("aten::").split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


class Watched(Stop):
    """Ends the run after the sixth iteration, which is watched; the ones before it make what is made once."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self._iteration, self._trainer, self.launches = 0, trainer, Launches()

    def __bool__(self) -> bool:
        self._iteration += 1
        if self._iteration == 6:
            self.before = addresses(self._trainer)
            self.launches.__enter__()
        elif self._iteration == 7:
            self.launches.__exit__(None, None, None)
            self.after = addresses(self._trainer)
        return self._iteration == 7


def addresses(trainer: Trainer) -> dict[str, int]:
    """Where everything is that an iteration changes and the next one reads."""
    learner, session = trainer.session.learner, trainer.session
    networks = learner.algorithm.networks
    found = {f"{name}.{kind}": getattr(x, kind) for name, x in networks.items() for kind in ("flat", "rounded")}
    for name, owner in {
        "norm": learner.norm,
        "scale": learner.return_scale._tensors,
        "factor": {"factor": learner.return_scale.factor},
        "replay": session.replay._storage,
        "episodes": session.episodes._tensors(),
        "quarantine": session.quarantine._kept(),
        "sums": session.interval._sums,
        **{f"{name}_adam": adam._state for name, adam in learner.algorithm.optimizers.items()},
    }.items():
        content = owner if isinstance(owner, dict) else vars(owner)
        found |= {f"{name}.{key}": x for key, x in content.items() if isinstance(x, torch.Tensor)}
    return {name: tensor.data_ptr() for name, tensor in found.items()}


def trainer_of(algo: Algorithm, path: Path) -> Trainer:
    config = default_config("Ant-v5", algo, WORLDS, device="cpu", preset="fast-2025", total_steps=100 * WORLDS)
    never = {"every": 0}
    narrow = {"batch_size": 8, "warmup_steps": WORLDS, "actor_hidden": (16, 16), "critic_hidden": (16, 16)}
    # as many updates as thousands of worlds get
    row = {"learner": {**narrow, "updates_per_step": 8, "compile": False}, "log": {"every": 10**6}, "eval": never}
    return Trainer(Still(), Still(), merged(config, {**row, "checkpoint": {**never, "replay": False}}), path)


def watch(trainer: Trainer) -> Watched:
    stop = Watched(trainer)
    with MetricsLogger(trainer.path, total_steps=trainer.config.total_steps) as logger:
        trainer.run(logger, stop)
    return stop


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_an_iteration_waits_for_nothing_and_keeps_its_storage(algo: Algorithm, tmp_path: Path) -> None:
    seen = watch(trainer_of(algo, tmp_path))
    assert not WAITS & seen.launches.names.keys()
    assert seen.before == seen.after and len(seen.before) > 40
    assert 1000 < seen.launches.names.total() <= MOST[algo]


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_acting_and_updating_are_few_launches_where_updates_are_in_a_graph(algo: Algorithm, tmp_path: Path) -> None:
    """As captured: what a graph holds counts as one."""
    trainer = trainer_of(algo, tmp_path)
    learner, settings = trainer.session.learner, trainer.config.learner
    counts: dict[str, int] = {}

    def capture(body: Any) -> Any:
        outputs = body()

        def launch() -> None:
            with _disable_current_modes():
                outputs.update(body())
            counts["graph"] = counts.get("graph", 0) + 1

        return launch, outputs

    rows = torch.zeros(settings.updates_per_step, settings.batch_size, dtype=torch.int64)
    noise = torch.zeros(len(rows), learner.algorithm.noise_per_update, settings.batch_size, ACTION)
    draws = Draws(Indices(rows, rows + 1), noise)
    graphs = UpdateGraphs(learner.updates.run_eagerly, trainer.session.replay, draws, settings.policy_delay)
    graphs.capture(capture, made=0)
    learner.updates.graphs = graphs
    counted(learner, "act", counts)
    counted(learner, "update", counts)
    watch(trainer)
    assert counts["graph"] == 5  # one in each iteration that had something to learn from
    assert 1 + counts["act"] + counts["update"] <= MOST_CAPTURED


def counted(owner: Any, name: str, counts: dict[str, int]) -> None:
    """Have `counts` tell how many operators the last call of a method launched."""
    original = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        with Launches() as launches:
            found = original(*arguments)
        counts[name] = launches.names.total()
        return found

    setattr(owner, name, call)
