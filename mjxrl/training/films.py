"""Films of a run's progress: the first episode of each evaluation that was the best so far."""

from __future__ import annotations

from pathlib import Path

from mjxrl.envs.gymnasium_env import GymnasiumEnv
from mjxrl.envs.task import Task
from mjxrl.errors import UnavailableError
from mjxrl.policy.picture import Painter
from mjxrl.policy.record import Look, film, film_beginning
from mjxrl.policy.tape import Tape
from mjxrl.policy.video import encoder
from mjxrl.reporting.metrics import MetricsLogger

_LOOK = Look((320, 240), fps=15)  # training waits meanwhile, without a GPU for some 25 ms a frame


def check_films(task: Task | GymnasiumEnv) -> None:
    """Make sure that films can be made, before any is due.

    Raises:
        UnavailableError: OpenGL or the encoder is missing, or Gymnasium steps it.
    """
    if isinstance(task, GymnasiumEnv):
        raise UnavailableError(f"--eval.film: allowed: without --env gymnasium:{task.gymnasium_id}")
    try:
        encoder()
        with Painter(task, (32, 32)):
            pass
    except UnavailableError as error:
        raise UnavailableError(f"--eval.film: {error}") from None


def film_best(tape: Tape, folder: Path, env: str, step: int, logger: MetricsLogger) -> None:
    """Write the first episode on the tape, of a policy after `step` transitions, and show its beginning in TensorBoard.

    A film that cannot be written is no reason to stop training.
    """
    shots, title = tape.episodes[0], f"{env}, {step:,} steps"
    gif = folder / f"step_{step}.gif"
    try:
        film(gif.with_suffix(".mp4"), [shots], tape.task, _LOOK, title)
        size = film_beginning(gif, shots, tape.task, _LOOK, title)
        logger.film(step, "eval/film", gif.read_bytes(), size)
    except OSError as error:
        logger.say(f"no film of the evaluation at {step:,} steps: {error}")
