"""The training loop: physics and learning side by side, numbers written at intervals; knows no algorithm or backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.learners import Learner, make_learner
from mjxrl.policy.evaluation import EvalResult, evaluate_backend
from mjxrl.replay import Replay
from mjxrl.reporting.alarms import AlarmBell
from mjxrl.reporting.episodes import EpisodeStats
from mjxrl.reporting.interval import Interval
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import read_metrics
from mjxrl.reporting.quarantine import Quarantine
from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint import REPLAY
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from mjxrl.training.stopping import Stop
from mjxrl.worlds.vector_env import VectorEnv


class Trainer:
    """One run: worlds, replay, learner and what is written about them.

    Attributes:
        steps: transitions collected so far, all worlds together.
        updates: gradient updates made so far.
        best: highest mean return of a periodic evaluation so far.
    """

    def __init__(self, config: Config, backend: str, device: torch.device, path: Path) -> None:
        self.config, self.path = config, path
        task, worlds, seed = config.task, config.num_envs, config.seed
        self.env = VectorEnv(
            task, worlds, backend=backend, device=device, seed=seed, stagger=True, physics=config.physics
        )
        # evaluations run in C: exact, and nothing to compile for another number of worlds
        self.eval_env = VectorEnv(task, config.eval.episodes, backend="native", device=device)
        sizes = self.env.obs_size, self.env.action_size
        self.generator = torch.Generator(device).manual_seed(seed)
        self.learner: Learner = make_learner(config, *sizes, device)
        limit = task.max_episode_steps
        self.replay = Replay(worlds, *sizes, capacity=config.replay.capacity, time_limit=limit, device=device)
        self.episodes = EpisodeStats(worlds, limit, device)
        self.interval = Interval()
        self.quarantine = Quarantine(path, worlds, *sizes, device, raising=config.on_nan == "raise")
        self.obs: Tensor | None = None  # what the policy sees next
        self.steps = self.updates = 0
        self.best = float("-inf")
        self._saved_at: int | None = None

    def run(self, logger: MetricsLogger, stop: Stop) -> None:
        """Train until `total_steps` or until `stop` says so, and leave a checkpoint.

        Raises:
            DivergedError: a world diverged, and `on_nan` is "raise"; the checkpoint is written all the same.
        """
        config, writer = self.config, CheckpointWriter(self.path, self.config.checkpoint.keep, logger.say)
        obs = self._start() if self.obs is None else self.obs
        bell = AlarmBell(config, read_metrics(self.path))
        self.learner.warm_up(self.replay)
        self.interval.begin(self.steps, self.updates)
        while self.steps < config.total_steps and not stop:
            with self.interval.phase("act"):
                action = self._act(obs)
                self.env.dispatch(action)
            if self._ready():
                with self.interval.phase("update"):
                    self.interval.add(self.learner.update(self.replay, config.learner.updates_per_step, self.generator))
                self.updates += config.learner.updates_per_step
            with self.interval.phase("collect"):
                result = self.env.collect()
            self.replay.append(action, *result[1:4], result.final_obs, result.obs, result.valid)
            self.learner.observe(result.obs, result.valid)
            ended = torch.logical_or(result.terminated, result.truncated)
            self.learner.observe_rewards(result.reward, ended, result.valid)
            self.episodes.update(result)
            self.quarantine.watch(obs, action, result.valid, self.steps)
            self.obs = obs = result.obs
            self.steps += config.num_envs
            row: dict[str, float] = {}
            if self._due(config.log.every):
                row |= self.episodes.pop() | self.interval.pop(self.steps, self.updates)
                row["train/overflows"] = self.env.overflows()  # world steps that may have lost a contact
            if self._due(config.eval.every):
                row |= self._evaluate(writer)
            if row:
                row |= bell.columns(self.steps, row, logger.say)
                logger.log(self.steps, row)
                if self.quarantine.ends_run(row, logger.say):
                    break
            if self._due(config.checkpoint.every):
                self.save(writer)
        self.save(writer)
        if not writer.wait():
            self._saved_at = None
            self.save(writer)  # once more: what was in the way may have gone
            writer.wait()
        self.quarantine.check()

    def evaluate(self) -> EvalResult:
        """Whole episodes of the deterministic policy, every time from the same first states."""
        self.eval_env.reset(seed=self.config.seed + 1)
        return evaluate_backend(self.learner.act_deterministic, self.eval_env)

    def save(self, writer: CheckpointWriter) -> None:
        """Start writing a checkpoint of everything, small parts first, unless nothing has changed since the last."""
        if self._saved_at == self.steps:
            return
        tensors = {"learner": self.learner.state_dict(), "trainer": self.state_dict(), "env": self.env.state_dict()}
        if self.config.checkpoint.replay:
            tensors[REPLAY] = self.replay.state_dict()
        info = {**self._identity(), "updates": self.updates, "best": self.best}
        self._saved_at = self.steps if writer.save(self.steps, tensors, info) else None

    def restore(self, which: str) -> None:
        """Go on from the checkpoint `which` of this run, bit for bit if it holds the replay.

        Raises:
            CheckpointError: it is missing, damaged or of another task.
            ValueError: it does not fit the configuration.
        """
        manifest = checkpoint.read_manifest(self.path, which, self._identity())
        files = {name: checkpoint.load(self.path, which, name, {}) for name in ("learner", "trainer", "env")}
        self.learner.load_state_dict(files["learner"])
        self.env.load_state_dict(files["env"])
        self.load_state_dict(files["trainer"])
        self.steps = self._saved_at = manifest["step"]
        self.updates, self.best = manifest["updates"], manifest["best"]
        if checkpoint.has_replay(self.path, which):
            self.replay.load_state_dict(checkpoint.load(self.path, which, REPLAY, {}))
        else:
            assert self.obs is not None
            self.replay.start(self.obs)

    def state_dict(self) -> dict[str, Tensor]:
        """What the loop itself depends on: current observations, random state, sums not yet logged."""
        assert self.obs is not None
        holders = {"episodes": self.episodes, "interval": self.interval, "quarantine": self.quarantine}
        parts = {name: holder.state_dict() for name, holder in holders.items()}
        state = {f"{part}.{name}": tensor for part, content in parts.items() for name, tensor in content.items()}
        return state | {"obs": self.obs, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state_dict`."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        if state["generator"].shape != self.generator.get_state().shape:
            raise ValueError(f"it was saved on another kind of device than {self.env.device.type}")
        self.obs = state["obs"].to(self.env.device)
        self.generator.set_state(state["generator"])
        self.episodes.load_state_dict(part("episodes."))
        self.interval.load_state_dict(part("interval."), self.env.device)
        self.quarantine.load_state_dict(part("quarantine."))

    def _start(self) -> Tensor:
        self.obs = self.env.reset()
        self.replay.start(self.obs)
        self.learner.observe(self.obs)
        return self.obs

    def _act(self, obs: Tensor) -> Tensor:
        if self.steps >= self.config.learner.warmup_steps:
            return self.learner.act(obs, self.generator)
        shape = self.config.num_envs, self.env.action_size
        return torch.rand(shape, generator=self.generator, device=obs.device) * 2 - 1

    def _ready(self) -> bool:
        """Whether the replay holds enough: at the start, and again where a resumed run must refill it."""
        learner = self.config.learner
        return self.replay.size >= max(learner.batch_size, min(learner.warmup_steps, self.replay.capacity))

    def _due(self, every: int) -> bool:
        """Whether the last vector step passed a multiple of `every` transitions."""
        return every > 0 and self.steps // every > (self.steps - self.config.num_envs) // every

    def _evaluate(self, writer: CheckpointWriter) -> dict[str, float]:
        result = self.evaluate()
        if result.mean_return > self.best:
            self.best = result.mean_return
            info = {**self._identity(), "updates": self.updates, "return": self.best}
            writer.save(self.steps, {"learner": self.learner.state_dict()}, info, kind="best")
        return {
            "eval/return": result.mean_return,
            "eval/return_std": result.std_return,
            "eval/length": sum(result.lengths) / len(result.lengths),
        }

    def _identity(self) -> dict[str, Any]:
        return {"env": self.config.env, "algo": self.config.algo}
