"""Films of a policy: its episodes one after another, four of them at once, the beginning of one as a GIF."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mjxrl.envs import task_class
from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.envs.task import Task
from mjxrl.errors import PolicyError, RunError
from mjxrl.physics import control_range
from mjxrl.policy.evaluation import EvalResult, Policy, evaluate_backend, random_policy
from mjxrl.policy.from_run import run_policy
from mjxrl.policy.picture import Painter
from mjxrl.policy.policy import INFO, load_policy
from mjxrl.policy.tape import Shot, Tape
from mjxrl.policy.video import write_video
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.vector_env import VectorEnv

_GIF_SECONDS, _GIF_FPS = 6, 20
_CPU = torch.device("cpu")

Episode = Sequence[Shot]


class Cast(NamedTuple):
    """Who is filmed."""

    policy: Policy
    task: Task
    env: str
    """The task's id."""
    name: str
    """What the policy is called, which films are named after."""


class Look(NamedTuple):
    """How films look."""

    size: tuple[int, int] = (640, 480)
    """Width and height in pixels, multiples of 4."""
    fps: float = 30
    """Frames a second at most: a film is as fast as its robot, and has no more than a frame a step."""
    camera: str | None = None
    """As `Painter` takes it."""


def cast_of(folder: Path, which: str = "latest", xml_file: str | None = None) -> Cast:
    """The policy that a run learned, or an exported one.

    Args:
        which: of a run, "latest", "best" or "step_<n>".
        xml_file: another MJCF than a run's task was trained with.

    Raises:
        RunError: the run or the checkpoint cannot be used.
        PolicyError: the exported policy cannot be used.
        TaskError: its task is not here.
    """
    if not (folder / INFO).is_file():
        policy, config = run_policy(folder, which, xml_file=xml_file)
        if isinstance(config.task, GymnasiumEnv):
            raise RunError(f"{folder}: allowed: runs of tasks of ours, not of {config.env}")
        return Cast(policy.act, config.task, config.env, which)
    exported = load_policy(folder)
    env = exported.info.env
    task = task_class(env)()
    if observation_size(task) != exported.obs_size:
        raise PolicyError(f"{folder}: it was trained with other keywords than {env} has by default: record its run")
    return Cast(exported.act, task, env, "policy")


def random_cast(task: Task, env: str, seed: int) -> Cast:
    """Uniformly random actions in a task."""
    return Cast(random_policy(len(control_range(task)[0]), seed, _CPU), task, env, "random")


def record(
    cast: Cast, out: Path, look: Look, *, episodes: int = 5, seed: int = 0, grid: bool = False, gif: bool = False
) -> tuple[EvalResult, list[Path]]:
    """Play episodes side by side on native worlds and write films of them into `out`; returns the scores and the films.

    Args:
        grid: a film of four episodes at once too; if fewer were asked for, as many are played.
        gif: the beginning of the first episode too, as a GIF.

    Raises:
        TaskError: the task cannot be simulated.
        Refusal: the model has no such camera.
        UnavailableError: OpenGL or the encoder is missing.
        OSError: a film cannot be written.
    """
    task, title = cast.task, f"{cast.env}, {cast.name}"
    tape = Tape(VectorEnv(task, max(episodes, 4 if grid else 1), backend="native", device=_CPU, seed=seed))
    result = evaluate_backend(cast.policy, tape)
    tape.close()
    paths = [out / f"{cast.name}.mp4"]
    film(paths[0], tape.episodes[:episodes], task, look, title)
    if grid:
        paths.append(out / f"{cast.name}-grid.mp4")
        film_grid(paths[-1], tape.episodes[:4], task, look, title)
    if gif:
        paths.append(out / f"{cast.name}.gif")
        film_beginning(paths[-1], tape.episodes[0], task, look, title)
    return result, paths


def film(path: Path, episodes: Sequence[Episode], task: Task, look: Look, title: str) -> None:
    """Write the episodes, one after another, to `path`, an .mp4 or a .gif; errors as `record` says."""

    def frames() -> Iterator[np.ndarray]:
        with Painter(task, look.size, look.camera) as painter:
            for number, shots in enumerate(episodes, start=1):
                heading = title if len(episodes) == 1 else f"{title}, episode {number} of {len(episodes)}"
                yield from (painter.paint(shot, heading) for shot in _shown(shots, task, look))

    write_video(path, frames(), _fps(task, look))


def film_grid(path: Path, episodes: Sequence[Episode], task: Task, look: Look, title: str) -> None:
    """Write four episodes at once, two by two; the last picture of one that ends stays until all have ended."""

    def frames() -> Iterator[np.ndarray]:
        four = [_shown(shots, task, look) for shots in episodes]
        with Painter(task, (look.size[0] // 2, look.size[1] // 2), look.camera) as painter:
            for i in range(max(map(len, four))):
                panels = [painter.paint(shots[min(i, len(shots) - 1)], title) for shots in four]
                yield np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])

    write_video(path, frames(), _fps(task, look))


def film_beginning(path: Path, shots: Episode, task: Task, look: Look, title: str) -> tuple[int, int]:
    """Write the first seconds of an episode at half the size, which it returns, as a README can bear it."""
    half = look._replace(size=(look.size[0] // 2, look.size[1] // 2), fps=min(look.fps, _GIF_FPS))
    film(path, [shots[: math.ceil(_GIF_SECONDS / task.dt)]], task, half, title)
    return half.size


def _stride(task: Task, look: Look) -> int:
    """Steps from one frame to the next."""
    return max(1, math.ceil(1 / (look.fps * task.dt) - 1e-9))


def _fps(task: Task, look: Look) -> float:
    return 1 / (task.dt * _stride(task, look))


def _shown(shots: Episode, task: Task, look: Look) -> Episode:
    """The shots that become frames, the last one among them: it has the whole return."""
    stride = _stride(task, look)
    return shots[(len(shots) - 1) % stride :: stride]
