"""`mjxrl-record`: film a policy, on a machine without a screen too."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import FlagCreatePairsOff, Positional

from mjxrl.cli.parse import TaskOptions, parse, refuse, run_dir_problems
from mjxrl.config.rules import problem
from mjxrl.envs import task_class
from mjxrl.errors import Refusal, TaskError
from mjxrl.machine import graphics, settings


@dataclass(frozen=True)
class Options:
    """Film the deterministic policy of a run, or of exported files, on the task that it was trained on."""

    run_dir: Positional[Path] = Path()
    """Folder of the run, or of an exported policy."""
    checkpoint: str = "latest"
    """Which checkpoint of a run: latest, best, or step_<n> as in its checkpoints/."""
    random: FlagCreatePairsOff[bool] = False
    """Film uniformly random actions instead."""
    env: str | None = None
    """What to film with --random and without RUN_DIR: a task's id, or my_module:MyTask."""
    episodes: int = 5
    """Episodes in the film, one after another."""
    grid: FlagCreatePairsOff[bool] = False
    """A film of four episodes at once too."""
    gif: FlagCreatePairsOff[bool] = False
    """The first seconds of the first episode as a GIF too, at half the size."""
    out: Path | None = None
    """Folder to write into. Default: films/ in the policy's."""
    seed: int = 0
    """Seed of the first states."""
    camera: str | None = None
    """Name (or number, without one) of a camera of the model's, or free. Default: one that follows, or else free."""
    size: tuple[int, int] = (640, 480)
    """Width and height in pixels, multiples of 4."""
    fps: int = 30
    """Frames a second at most: films are as fast as their robots, and have no more than a frame a step."""
    task: TaskOptions = field(default_factory=TaskOptions)


def main() -> int:
    """Film as the command line says; returns the exit status."""
    options = parse_options(sys.argv[1:])
    settings.set_up("cpu", "native")
    settings.keep_mujoco_log_out_of_the_way()
    from mjxrl.policy import record

    out = options.out or options.run_dir / "films"
    try:
        if options.env is not None:
            cast = record.random_cast(task_class(options.env)(), options.env, options.seed)
        else:
            cast = record.cast_of(options.run_dir, options.checkpoint, options.task.xml_file)
            cast = record.random_cast(cast.task, cast.env, options.seed) if options.random else cast
        look = record.Look(options.size, options.fps, options.camera)
        chosen = {"episodes": options.episodes, "seed": options.seed, "grid": options.grid, "gif": options.gif}
        result, films = record.record(cast, out, look, **chosen)
    except Refusal as error:
        refuse([str(error)])
    except OSError as error:
        refuse([f"--out {out}: cannot be written: {error.strerror or error}"])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    for number, (score, length) in enumerate(zip(result.returns, result.lengths, strict=True), start=1):
        print(f"episode {number}: return {score:.1f} in {length} steps")
    print(*films, sep="\n")
    return 0


def parse_options(argv: list[str], prog: str = "mjxrl-record") -> Options:
    """The options that `argv` gives; prints help, or everything that is wrong with them, and exits."""
    options, problems = parse(Options(), argv, prog, positional="run_dir")
    missing = graphics.problem()
    problems += [missing] if missing else _problems_of_place(options, prog)  # the latter may import MuJoCo
    if options.episodes < 1:
        problems.append(problem("episodes", options.episodes, "a whole number, at least 1"))
    if options.seed < 0:
        problems.append(problem("seed", options.seed, "a whole number, at least 0"))
    if not 1 <= options.fps <= 1000:
        problems.append(problem("fps", options.fps, "a whole number from 1 to 1000"))
    if not all(32 <= side <= 4096 and side % 4 == 0 for side in options.size):
        problems.append(problem("size", options.size, "width and height from 32 to 4096, multiples of 4"))
    if problems:
        refuse(problems)
    return options


def _problems_of_place(options: Options, prog: str) -> list[str]:
    """What is wrong with where policy and task are to come from."""
    if options.env is None:
        exported = (options.run_dir / "policy.json").is_file()
        return [] if exported else run_dir_problems(options.run_dir, prog, options.task.xml_file)
    if options.run_dir != Path():
        return [f"--env {options.env}: allowed: without RUN_DIR, which says what its task is"]
    if not options.random:
        return [f"--env {options.env}: allowed: with --random, or RUN_DIR instead, where the policy is"]
    try:
        task_class(options.env)
    except TaskError as error:
        return [f"--env {options.env}: {error}"]
    return []
