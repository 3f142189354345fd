"""The tasks: one file each, pure functions of arrays; `task_class` finds one by id or by `my_module:MyTask`, and
`env_class` by `gymnasium:ID` what Gymnasium steps.

Imported as `mjxrl.envs`, so that a user's own `envs` folder neither shadows this one nor is shadowed by it. Task
modules are imported only when asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from difflib import get_close_matches
from types import ModuleType
from typing import TYPE_CHECKING

from mjxrl.config.schema import GYMNASIUM
from mjxrl.errors import TaskError

if TYPE_CHECKING:
    from .gymnasium_env import GymnasiumEnv
    from .task import Task

# Gymnasium's own suite: id -> where the task is
SUITE = {
    "Ant-v5": "mjxrl.envs.ant:Ant",
    "HalfCheetah-v5": "mjxrl.envs.half_cheetah:HalfCheetah",
    "Hopper-v5": "mjxrl.envs.hopper:Hopper",
    "Humanoid-v5": "mjxrl.envs.humanoid:Humanoid",
    "HumanoidStandup-v5": "mjxrl.envs.humanoid_standup:HumanoidStandup",
    "InvertedDoublePendulum-v5": "mjxrl.envs.inverted_double_pendulum:InvertedDoublePendulum",
    "InvertedPendulum-v5": "mjxrl.envs.inverted_pendulum:InvertedPendulum",
    "Pendulum-v1": "mjxrl.envs.pendulum:Pendulum",
    "Pusher-v5": "mjxrl.envs.pusher:Pusher",
    "Reacher-v5": "mjxrl.envs.reacher:Reacher",
    "Swimmer-v5": "mjxrl.envs.swimmer:Swimmer",
    "Walker2d-v5": "mjxrl.envs.walker2d:Walker2d",
}
# gymnasium-robotics'
FETCH = {
    f"Fetch{name}{reward}-v4": f"mjxrl.envs.fetch:Fetch{name}{reward}"
    for name in ("Reach", "Push", "Slide", "PickAndPlace")
    for reward in ("", "Dense")
}
TASKS = SUITE | FETCH


def env_class(env_id: str) -> type[Task] | type[GymnasiumEnv]:
    """The class of what `--env` names: as `task_class`, or of `gymnasium:ID`, an id that Gymnasium has registered, or
    will when a module is imported, as in `gymnasium:my_module:MyEnv-v0`.

    Raises:
        TaskError: there is no such task or environment.
    """
    if not env_id.startswith(GYMNASIUM):
        return task_class(env_id)
    import gymnasium

    from .gymnasium_env import GymnasiumEnv

    gymnasium_id = env_id.removeprefix(GYMNASIUM)
    module_name, _, registered = gymnasium_id.rpartition(":")
    if module_name:
        _imported(module_name)
    try:
        gymnasium.spec(registered)
    except gymnasium.error.Error as error:
        raise TaskError(" ".join(str(error).split())) from None
    return type("GymnasiumEnv", (GymnasiumEnv,), {"gymnasium_id": gymnasium_id, "__doc__": GymnasiumEnv.__doc__})


def task_class(env_id: str) -> type[Task]:
    """The task of a Gymnasium id, or a user's own as `module:Class` (the working folder is searched, after ours).

    Raises:
        TaskError: there is no such task; the message names what is allowed.
    """
    if env_id.startswith(GYMNASIUM):
        raise TaskError(f"Gymnasium steps it: allowed here are {', '.join(TASKS)} and my_module:MyTask")
    place = TASKS.get(env_id, env_id)
    module_name, _, class_name = place.partition(":")
    if not class_name:
        close = get_close_matches(env_id, TASKS, n=1, cutoff=0.3)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise TaskError(f"no such task{hint}: allowed are {', '.join(TASKS)}, my_module:MyTask and gymnasium:ID")
    module = _imported(module_name)
    from .task import Task

    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskError(f"module {module_name!r} has no subclass of mjxrl.envs.task.Task named {class_name!r}")
    return found


def _imported(module_name: str) -> ModuleType:
    """A module on the path, or in the working folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise TaskError(f"no module named {module_name!r} on the path or in the working folder") from None
