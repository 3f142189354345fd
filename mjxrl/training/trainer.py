"""The training loop: physics and learning side by side, numbers written at intervals; knows no algorithm or backend."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.policy.evaluation import EvalResult, Policy, evaluate_backend
from mjxrl.policy.tape import Tape
from mjxrl.reporting.alarms import AlarmBell
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import read_metrics
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from mjxrl.training.films import film_best
from mjxrl.training.session import Session
from mjxrl.training.stopping import Stop
from mjxrl.worlds.worlds import Resumable, Worlds


class Trainer:
    """Trains on any worlds.

    Args:
        worlds: to train on.
        eval_worlds: of the same task, for periodic evaluations: one episode in each.
        config: of the run; `env` names the task in what is written, `num_envs` is the number of `worlds`.
        path: the run's folder, made if need be.
        ranks: the processes that train together; `worlds` are this one's share.

    Raises:
        ValueError: the worlds do not fit each other or the configuration.
        TypeError: films are wanted of worlds that cannot be drawn.
    """

    def __init__(self, worlds: Worlds, eval_worlds: Worlds, config: Config, path: Path, ranks: Ranks = ALONE) -> None:
        if worlds.num_envs * ranks.size != config.num_envs:
            raise ValueError(f"worlds has num_envs={worlds.num_envs}, config num_envs={config.num_envs}")
        one, other = ((each.obs_size, each.action_size, each.device) for each in (worlds, eval_worlds))
        if one != other:
            raise ValueError(f"obs_size, action_size, device: {one} of worlds, {other} of eval_worlds")
        self.worlds, self.config, self.path, self.ranks = worlds, config, path, ranks
        self.eval_worlds = Tape(eval_worlds, keep=1) if config.eval.film else eval_worlds
        self.session = Session(worlds, config, path, ranks)

    @property
    def policy(self) -> Policy:
        """The policy as learned so far: its best actions, (N, A) in [-1, 1], of raw observations, (N, O)."""
        return self.session.learner.act_deterministic

    def run(self, logger: MetricsLogger | None = None, stop: Stop | None = None) -> None:
        """Train until `total_steps` or until `stop` says so, and leave a checkpoint; once more, it goes on from there.

        Args:
            logger: takes the metrics; by default one that writes them into `path` and on the terminal.
            stop: with no logger, by default what `max_minutes` says.

        Raises:
            DriftError: the ranks no longer hold the same learner; nothing is written then.
            DivergedError: most transitions are unusable, or one is and `on_nan` is "raise"; the checkpoint is written
                all the same.
            SavingError: a line or the last checkpoint cannot be written; the checkpoint before it stays.
        """
        config, session, worlds, ranks = self.config, self.session, self.worlds, self.ranks
        if logger is None:
            gone_on_at = None if session.obs is None else session.steps
            with MetricsLogger.of(config, self.path, gone_on_at, leads=ranks.leads) as own:
                self.run(own, Stop(config.max_minutes) if stop is None else stop)
            return
        learner, replay, interval = session.learner, session.replay, session.interval
        stop = Stop() if stop is None else stop
        writer = CheckpointWriter(self.path, config.checkpoint.keep, logger.say, ranks)
        bell = AlarmBell(config, read_metrics(self.path) if ranks.leads else [])
        if not isinstance(worlds, Resumable):
            logger.say("these worlds cannot be saved: a run that is resumed begins new episodes in them")
        obs = session.start()
        session.check_drift()
        learner.warm_up(replay)
        stop.begin()
        logger.begin()
        interval.begin(session.steps, session.updates)
        while session.steps < config.total_steps and not ranks.any_soon(bool(stop)):
            with interval.phase("act"):
                action = self._act(obs)
                worlds.dispatch(action)
            if self._ready():
                with interval.phase("update"):
                    interval.add(learner.update(replay, config.learner.updates_per_step, session.generator))
                session.updates += config.learner.updates_per_step
            with interval.phase("collect"):
                result = worlds.collect()
            replay.append(action, result)
            learner.observe(result)
            session.episodes.update(result)
            session.quarantine.watch(obs, action, result, session.steps)
            session.obs = obs = result.obs
            session.steps += config.num_envs
            row: dict[str, float] = {}
            if self._due(config.log.every):
                row |= session.episodes.pop() | interval.pop(session.steps, session.updates)
                row |= session.lost_contacts()
                session.check_drift()
            if self._due(config.eval.every):
                row |= self._evaluate(writer, logger)
            if row:
                row["time/elapsed_s"] = interval.elapsed_s
                row |= bell.columns(session.steps, row, logger.say)
                logger.log(session.steps, row)
                if session.quarantine.ends_run(row, logger.say):
                    break
            if self._due(config.checkpoint.every) and session.steps < config.total_steps:
                session.save(writer)
        stop.agree(ranks)
        session.save_last(writer, finished=session.steps >= config.total_steps or bool(stop and stop.signal is None))
        session.quarantine.check()

    def evaluate(self) -> EvalResult:
        """Whole episodes of the deterministic policy, every time from the same first states."""
        self.eval_worlds.reset(seed=self.config.seed + 1)
        return evaluate_backend(self.policy, self.eval_worlds)

    def _evaluate(self, writer: CheckpointWriter, logger: MetricsLogger) -> dict[str, float]:
        result = EvalResult(*self.ranks.from_first(self.evaluate() if self.ranks.leads else None))
        row = {"eval/diverged": float(result.diverged)}
        # who breaks the simulation is no candidate, whatever the others return
        best = not result.diverged and self.session.save_if_best(writer, result.rank)
        if best and self.ranks.leads and isinstance(self.eval_worlds, Tape):
            film_best(self.eval_worlds, self.path / "films", self.config.env, self.session.steps, logger)
        if result.returns:
            row |= {"eval/return": result.mean_return, "eval/return_std": result.std_return}
            row["eval/length"] = sum(result.lengths) / len(result.lengths)
            row |= {f"eval/{name}": mean for name, mean in result.means.items()}
        return row

    def _act(self, obs: Tensor) -> Tensor:
        session = self.session
        if session.steps >= self.config.learner.warmup_steps:
            return session.learner.act(obs, session.generator)
        shape = self.worlds.num_envs, self.worlds.action_size
        return torch.rand(shape, generator=session.generator, device=obs.device) * 2 - 1

    def _ready(self) -> bool:
        """Whether the replay holds enough: at the start, and again where a resumed run must refill it."""
        learner, replay, ranks = self.config.learner, self.session.replay, self.ranks.size
        return replay.size * ranks >= max(learner.batch_size, min(learner.warmup_steps, replay.capacity * ranks))

    def _due(self, every: int) -> bool:
        """Whether the last vector step passed a multiple of `every` transitions."""
        steps = self.session.steps
        return every > 0 and steps // every > (steps - self.config.num_envs) // every
