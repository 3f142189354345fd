"""From a configuration to a finished run: process set-up, the run's folder, resuming, and the final scores."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from mjxrl.adapters.chosen import worlds_of
from mjxrl.config import Config
from mjxrl.config.rules import flags_of_networks
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.envs.task import Task
from mjxrl.errors import CheckpointError, MisfitError, Refusal, RunError, UnavailableError
from mjxrl.machine import devices, settings, threads
from mjxrl.machine.devices import Machine
from mjxrl.machine.ranks import ALONE, Ranks, joined
from mjxrl.policy.evaluation import EvalResult, Policy, evaluate, random_policy, unlike_gymnasium
from mjxrl.policy.from_run import run_policy
from mjxrl.reporting.metrics import MetricsLogger
from mjxrl.reporting.plotting import plot_runs
from mjxrl.storage import checkpoint, run_dir
from mjxrl.storage.files import saving, write_atomically
from mjxrl.storage.trained_task import MODEL
from mjxrl.training import budget, meeting
from mjxrl.training.films import check_films
from mjxrl.training.stopping import Stop
from mjxrl.training.trainer import Trainer
from mjxrl.worlds import against_c
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import Worlds


def train(config: Config) -> int:
    """Train as `config` says, with the other processes if torchrun started several, score the policy in Gymnasium and
    return the exit status.

    Returns:
        0, or 130 or 143 after SIGINT or SIGTERM, which end the run in good order with a checkpoint.

    Raises:
        UnavailableError: the device or the backend asked for is not there, or simulates another robot than C, or films
            cannot be made.
        MemoryProblem: the run would not fit.
        RunError: the run directory is in use or not empty, `resume` or `init_from` holds no usable checkpoint, or the
            task cannot be simulated. What one process is refused is refused to all.
        DriftError, PeerError: the processes hold different learners, or one is gone.

    Whatever is raised before the first line of metrics, a new run leaves no folder.
    """
    stop = Stop(config.max_minutes)
    with joined() as ranks, meeting.one_speaks(ranks), ExitStack() as opened:
        with ranks.together():
            machine = config.machine()
            room = prepare(config, machine)
            if config.eval.film:
                check_films(config.task)
            weights = {} if config.resume else initial_weights(config)
            if config.resume:
                refuse_another_task(config.resume, config.task)
        meeting.confirm_alike(ranks, config, machine)
        ranks.connect(machine.device)
        path, remarks = opened.enter_context(meeting.folder(config, machine, ranks))
        opened.enter_context(stop.on_signals())
        settings.mujoco_log_to(path / ranks.own("mujoco.log"))
        with ranks.together(), refusing(f"--env {config.env} on backend {machine.backend}"):
            worlds, eval_worlds = (opened.enter_context(closing(each)) for each in make_worlds(config, machine, ranks))
            trainer = Trainer(worlds, eval_worlds, config, path, ranks)
        lines = [*introduction(config, machine, path), *meeting.introduction(ranks, config)]
        print(*lines, sep="\n", flush=True)  # before anything compiles
        if config.resume:
            remarks += restore_newest(trainer)
        if weights:
            with ranks.together(), refusing(f"--init-from {config.init_from}"):
                trainer.session.learner.load_weights(weights)
        resume_step = trainer.session.steps if config.resume else None
        with MetricsLogger.of(config, path, resume_step, leads=ranks.leads) as logger:
            if config.learner.lr_schedule != "constant" and config.max_minutes:
                logger.say("step sizes follow --total-steps: a run that --max-minutes ends first keeps larger ones")
            for remark in remarks:
                logger.say(remark)
            if isinstance(worlds, VectorEnv):
                with ranks.together(), ranks.first_here_first():  # the others find what it compiled
                    budget.check_program(config, machine.backend, machine.device, room, worlds.program_bytes())
                    if remark := against_c.check(worlds, machine.backend, config.physics):
                        logger.say(remark)
            trainer.run(logger, stop)
            if stop.signal is None and ranks.leads:
                report(trainer, logger)
    if stop.signal is not None and ranks.leads:
        at = f"stopped by {stop.signal.name} at {trainer.session.steps:,} steps"
        print(f"{at}; go on with: --resume {path}", file=sys.stderr)
    return stop.exit_status


def make_worlds(config: Config, machine: Machine, ranks: Ranks = ALONE) -> tuple[Worlds, Worlds]:
    """This rank's share of the worlds that `config` trains on, and those of its periodic evaluations.

    Raises:
        Refusal: the task cannot be simulated on this backend.
    """
    task, device = config.task, torch.device(machine.device)
    worlds = worlds_of(
        task,
        config.share(ranks.size).num_envs,
        backend=machine.backend,
        device=device,
        seed=ranks.seed(config.seed),
        stagger=True,
        physics=dataclasses.replace(config.physics, threads=machine.threads.physics),
    )
    # evaluations of our tasks run in C: exact, and nothing to compile for another number of worlds
    episodes = config.eval.episodes if ranks.leads else 1  # who evaluates is the first one
    return worlds, worlds_of(task, episodes, backend="native", device=device)


def prepare(config: Config, machine: Machine) -> budget.Room:
    """Set the process up, with jax's share of the GPU as the rest of the run leaves it, and refuse what cannot work.

    Returns the memory that there is for the run.

    Raises:
        UnavailableError: torch or jax does not see the GPU.
        MemoryProblem: the run does not fit.
        RunError: the task's MJCF cannot be read.
    """
    threads.set_torch_threads(machine.threads.learner)
    if machine.device == "cuda":
        devices.confirm_torch_sees_cuda()
    settings.keep_mujoco_log_out_of_the_way()  # the model is loaded now, the run's folder comes later
    with refusing(f"--env {config.env}"):
        room = budget.check(config, machine.backend, machine.device)  # the first to read the MJCF
    # a process that has imported jax already has divided the memory
    share = None if "jax" in sys.modules else room.jax_share
    settings.set_up(machine.device, machine.backend, jax_memory_fraction=share)
    if room.jax_share is not None:
        devices.confirm_jax_sees_cuda(machine.backend)
    return room


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Make a `RunError`, whose line begins with the flag `what`, of a refusal that names no flag itself."""
    try:
        yield
    except (RunError, UnavailableError):
        raise
    except Refusal as error:
        raise RunError(f"{what}: {' '.join(str(error).split())}") from None


def introduction(config: Config, machine: Machine, path: Path) -> list[str]:
    """What is about to run, on what, and what it waits for first."""
    lines = [
        f"{config.algo.upper()} on {config.env}, {config.num_envs} worlds, {path}",
        f"device {machine.device} ({machine.device_name}), backend {machine.backend} ({machine.reason})",
        f"preset {config.preset}: {in_words(config)}",
        f"threads: {machine.threads.physics} physics, {machine.threads.learner} learner",
    ]
    unused = devices.unused_gpu() if machine.device == "cpu" and config.device == "auto" else None
    notices = machine.notice(config.num_envs, config.env), threads.others_at_work(machine.threads.learner)
    return lines + ([f"there is a GPU, but {unused}"] if unused else []) + [notice for notice in notices if notice]


NORMS = {"none": "", "layer": " with LayerNorm", "batch": " with BatchNorm"}


def in_words(config: Config) -> str:
    """What a run learns from, on one line."""
    learner = config.learner
    critics = "critic" if learner.num_critics == 1 else "critics"
    critic = f"{learner.num_critics} {learner.critic} {critics}{NORMS[learner.critic_norm]}"
    actor = f"an actor{NORMS[learner.actor_norm]}, " if learner.actor_norm != "none" else ""
    widths = "x".join(map(str, learner.critic_hidden)) + (" in blocks" if learner.blocks else "")
    compiled = ", compiled (up to a minute the first time)" if learner.compile else ""
    return (
        f"{learner.updates_per_step} updates of batch {learner.batch_size} per vector step, {critic} of {widths}, "
        f"{actor}{learner.n_step}-step returns, tau {learner.tau}{compiled}"
    )


def refuse_another_task(path: Path, task: Task | GymnasiumEnv) -> None:
    """Raise RunError if `task` is not the one that the run at `path` trained so far."""
    changes = run_dir.task_changes(path, task)
    if changes:
        raise RunError(
            f"--resume {path}: its task has changed: {'; '.join(changes)}: allowed: the task as it was "
            f"(for the model: --task.xml-file {path / MODEL}), or a new run with --init-from {path}"
        )


def initial_weights(config: Config) -> dict[str, Tensor]:
    """The weights to start from, empty without `init_from`."""
    if config.init_from is None:
        return {}
    try:
        weights = checkpoint.load(config.init_from, "latest", "learner", config.identity)
    except CheckpointError as error:
        raise CheckpointError(f"--init-from {config.init_from}: {error}") from None
    if flags := flags_of_networks(run_dir.load_config(config.init_from, as_trained=True).learner, config.learner):
        raise RunError(f"--init-from {config.init_from}: its networks are others: allowed: with {' '.join(flags)}")
    return weights


def restore_newest(trainer: Trainer) -> list[str]:
    """Put the trainer at the newest whole checkpoint of its run; returns what the user should know about it.

    Raises:
        CheckpointError: there is none, or it does not fit.
    """
    remarks: list[str] = []
    session = trainer.session
    for step in trainer.ranks.from_first(checkpoint.steps_saved(trainer.path)):
        try:
            saved_by = session.restore(f"step_{step}")
        except CheckpointError as error:
            remarks.append(f"{error}: the checkpoint before it is used")
            continue
        except MisfitError as error:
            raise CheckpointError(f"--resume {trainer.path}: step_{step}: {error}") from None
        remarks.append(f"resumed at {session.steps:,} steps")
        if saved_by != trainer.ranks.size:
            now = f"{saved_by} process{'es' * (saved_by > 1)} saved it and {trainer.ranks.size} go on"
            remarks.append(f"{now}: the learner goes on, worlds and replay start afresh")
        elif session.replay.size == 0 and session.steps > 0:
            remarks.append("this checkpoint holds no replay: it refills first, then learning goes on")
        return remarks
    problems = "; ".join(remarks) or "it has no checkpoint, nothing was saved there"
    raise CheckpointError(f"--resume {trainer.path}: {problems}")


def report(trainer: Trainer, logger: MetricsLogger) -> None:
    """Score the policy beside a random one, draw the learning curve, and say where everything is."""
    path = trainer.path
    scores = final_scores(trainer, logger)
    with saving():
        plot_runs([path], path / "curve.png")
    for who, result in scores.items():
        where = {"gymnasium": "Gymnasium"}.get(result.where, result.where)
        logger.say(f"mean return in {where} over {len(result.returns)} episodes, {who} policy: {result.in_words()}")
    session = trainer.session
    table = {who: result.as_json() for who, result in scores.items()}
    content = {"steps": session.steps, "updates": session.updates, **table}
    logger.finish(session.steps, table)
    if not session.updates:
        logger.say("no update was made: the trained policy is the one that the run began with")
    if "best" in scores:
        better = max(("trained", "best"), key=lambda who: (not scores[who].diverged, scores[who].rank))
        content["better"] = better
        logger.say(f"the better one is the {better} policy: --checkpoint {'best' if better == 'best' else 'latest'}")
    with saving():
        write_atomically(path / "final.json", json.dumps(content, indent=2).encode() + b"\n")
    logger.say(f"learning curve: {path / 'curve.png'}")
    logger.say(f"TensorBoard:    {Path(sys.executable).parent / 'tensorboard'} --logdir {path}")


def final_scores(trainer: Trainer, logger: MetricsLogger) -> dict[str, EvalResult]:
    """The trained policy, the one that was best in an evaluation before, and a random one: in Gymnasium, or on the
    native backend for a task that Gymnasium lacks."""
    config, worlds = trainer.config, trainer.worlds
    episodes = config.eval.final_episodes
    if not episodes:
        return {}
    problem = unlike_gymnasium(config.task)
    if problem and config.task.gymnasium_id:
        logger.say(f"not scored in Gymnasium: {problem}")
    where = "native" if problem else "gymnasium"
    policies: dict[str, Policy] = {"trained": trainer.policy}
    with suppress(CheckpointError):  # there was no evaluation
        best, _ = run_policy(trainer.path, "best", device=worlds.device)
        if best.info.step != trainer.session.steps:
            policies["best"] = best.act
    policies["random"] = random_policy(worlds.action_size, config.seed, worlds.device)
    return {
        who: evaluate(policy, config.task, where, episodes=episodes, seed=config.seed, device=worlds.device)
        for who, policy in policies.items()
    }
