"""The training loop: physics and learning side by side, numbers written at intervals; knows no algorithm or backend."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from mjxrl import checkpoint, run_dir, runtime
from mjxrl.config import Config
from mjxrl.episodes import EpisodeStats
from mjxrl.evaluation import EvalResult, evaluate_backend, evaluate_gymnasium, random_policy
from mjxrl.learners import Learner, make_learner
from mjxrl.metrics import MetricsLogger
from mjxrl.plotting import plot_runs
from mjxrl.replay import Replay
from mjxrl.vector_env import VectorEnv


class Trainer:
    """One run: worlds, replay, learner and what is written about them.

    Attributes:
        steps: transitions collected so far, all worlds together.
        updates: gradient updates made so far.
    """

    def __init__(self, config: Config, backend: str, device: torch.device, path: Path) -> None:
        self.config, self.path = config, path
        self.env = VectorEnv(
            config.task,
            config.num_envs,
            backend=backend,
            device=device,
            seed=config.seed,
            stagger=True,
            physics=config.physics,
        )
        # evaluations run in C: exact, and nothing to compile for another number of worlds
        self.eval_env = VectorEnv(
            config.task, config.eval.episodes, backend="native", device=device, seed=config.seed + 1
        )
        sizes = self.env.obs_size, self.env.action_size
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.learner: Learner = make_learner(config, *sizes, device)
        limit = config.task.max_episode_steps
        self.replay = Replay(config.num_envs, *sizes, capacity=config.replay.capacity, time_limit=limit, device=device)
        self.episodes = EpisodeStats(config.num_envs, limit, device)
        self.steps = self.updates = 0

    def run(self, logger: MetricsLogger) -> None:
        """Train until `total_steps` or `max_minutes`, whichever comes first."""
        config, interval = self.config, Interval()
        deadline = time.monotonic() + 60 * (config.max_minutes or float("inf"))
        obs = self.env.reset()
        self.replay.start(obs)
        self.learner.observe(obs)
        while self.steps < config.total_steps and time.monotonic() < deadline:
            action = self._act(obs)
            self.env.dispatch(action)
            if self._ready():
                interval.add(self.learner.update(self.replay, config.learner.updates_per_step, self.generator))
                self.updates += config.learner.updates_per_step
            result = self.env.collect()
            self.replay.append(action, *result[1:4], result.final_obs, result.obs, result.valid)
            self.learner.observe(result.obs, result.valid)
            self.episodes.update(result)
            obs = result.obs
            self.steps += config.num_envs
            row: dict[str, float] = {}
            if self._due(config.log.every):
                row |= self.episodes.pop() | interval.pop(self.steps, self.updates)
            if self._due(config.eval.every):
                row |= evaluation_metrics(self.evaluate())
            if row:
                logger.log(self.steps, row)
            if self._due(config.checkpoint.every):
                self.save()
        self.save()

    def evaluate(self) -> EvalResult:
        """Whole episodes of the deterministic policy."""
        return evaluate_backend(self.learner.act_deterministic, self.eval_env)

    def save(self) -> Path:
        """Write a checkpoint."""
        info = {"env": self.config.env, "algo": self.config.algo, "updates": self.updates}
        return checkpoint.save(self.path, self.steps, {"learner": self.learner.state_dict()}, info)

    def _act(self, obs: Tensor) -> Tensor:
        if self.steps >= self.config.learner.warmup_steps:
            return self.learner.act(obs, self.generator)
        shape = self.config.num_envs, self.env.action_size
        return torch.rand(shape, generator=self.generator, device=obs.device) * 2 - 1

    def _ready(self) -> bool:
        learner = self.config.learner
        return self.steps >= learner.warmup_steps and self.replay.size >= learner.batch_size

    def _due(self, every: int) -> bool:
        """Whether the last vector step passed a multiple of `every` transitions."""
        return every > 0 and self.steps // every > (self.steps - self.config.num_envs) // every


class Interval:
    """What accumulates between two lines of metrics: means of the learner's numbers, and rates."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}
        self._started = self._since = time.monotonic()
        self._steps = self._updates = 0

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add the learner's numbers of one vector step; they stay on the device."""
        for name, value in metrics.items():  # a name is missing where no policy update fell due
            self._values.setdefault(name, []).append(value)

    def pop(self, steps: int, updates: int) -> dict[str, float]:
        """Means and rates since the last call, which waits for the device."""
        means = [torch.stack(values).mean() for values in self._values.values()]
        metrics = dict(zip(self._values, torch.stack(means).tolist() if means else [], strict=True))
        now = time.monotonic()
        seconds = now - self._since
        metrics |= {
            "updates": updates,
            "time/elapsed_s": now - self._started,
            "time/env_steps_per_s": (steps - self._steps) / seconds,
            "time/updates_per_s": (updates - self._updates) / seconds,
        }
        self._values = {}
        self._since, self._steps, self._updates = now, steps, updates
        return metrics


def evaluation_metrics(result: EvalResult) -> dict[str, float]:
    return {
        "eval/return": result.mean_return,
        "eval/return_std": result.std_return,
        "eval/length": sum(result.lengths) / len(result.lengths),
    }


def train(config: Config) -> Path:
    """Train as `config` says, score the policy in Gymnasium and return the run's folder.

    Raises:
        UnavailableError: the device or the backend asked for is not there.
        FileExistsError: the run directory exists and is not empty.
        RunError: `init_from` holds no usable checkpoint.
    """
    kind = runtime.resolve_device(config.device)
    backend, reason = runtime.resolve_backend(config.backend, kind)
    runtime.set_up(kind, backend)
    threads = runtime.split_threads(runtime.available_cores(), backend, kind)
    threads = runtime.Threads(config.physics.threads or threads.physics, config.learner.threads or threads.learner)
    runtime.set_torch_threads(threads.learner)
    device, name = torch.device(kind), runtime.device_name(kind)
    weights = initial_weights(config)

    resolved = {"device": kind, "device_name": name, "backend": backend, "threads": threads._asdict()}
    path = run_dir.create(config, resolved)
    runtime.mujoco_log_to(path / "mujoco.log")
    config = dataclasses.replace(config, physics=dataclasses.replace(config.physics, threads=threads.physics))
    with MetricsLogger(path, total_steps=config.total_steps, max_minutes=config.max_minutes) as logger:
        logger.say(f"{config.algo.upper()} on {config.env}, {config.num_envs} worlds, {path}")
        logger.say(f"device {kind} ({name}), backend {backend} ({reason})")
        logger.say(f"threads: {threads.physics} physics, {threads.learner} learner")
        trainer = Trainer(config, backend, device, path)
        if weights:
            trainer.learner.load_weights(weights)
        trainer.run(logger)
        final = final_scores(trainer)
        if final:
            logger.log(trainer.steps, {f"final/{who}_return": result.mean_return for who, result in final.items()})
    plot_runs([path], path / "curve.png")
    where = "Gymnasium" if config.task.gymnasium_id else "native"
    for who, result in final.items():
        score = f"{result.mean_return:8.1f} ± {result.std_return:.1f}"
        print(f"mean return in {where} over {len(result.returns)} episodes, {who} policy: {score}")
    print(f"learning curve: {path / 'curve.png'}")
    print(f"TensorBoard:    {Path(sys.executable).parent / 'tensorboard'} --logdir {path}")
    return path


def initial_weights(config: Config) -> dict[str, Tensor]:
    """The weights to start from, empty without `init_from`."""
    if config.init_from is None:
        return {}
    return checkpoint.load(config.init_from, "latest", "learner", {"env": config.env, "algo": config.algo})


def final_scores(trainer: Trainer) -> dict[str, EvalResult]:
    """The trained and a random policy in Gymnasium (or on the native backend for a task that Gymnasium lacks)."""
    config, env = trainer.config, trainer.env
    episodes = config.eval.final_episodes
    if not episodes:
        return {}
    policies = {
        "trained": trainer.learner.act_deterministic,
        "random": random_policy(env.action_size, config.seed, env.device),
    }
    if config.task.gymnasium_id is None:
        return {who: evaluate_backend(policy, trainer.eval_env) for who, policy in policies.items()}
    return {
        who: evaluate_gymnasium(policy, config.task, episodes, config.seed, env.device)
        for who, policy in policies.items()
    }
