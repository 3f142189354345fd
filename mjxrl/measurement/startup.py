"""Start-up: how long a fresh process takes until it has stepped all worlds once and made one update.

`report` starts the processes: the first one of a pair finds every cache of compiled programs empty, the second one
finds what the first has left there.
"""

from __future__ import annotations

import importlib
import time

from mjxrl.config import Config
from mjxrl.measurement.timing import union

CACHES = {  # set to folders of the pair's own
    "XDG_CACHE_HOME": "cache",  # ours, jax's in it, and Warp's
    "JAX_COMPILATION_CACHE_DIR": "jax",
    "WARP_CACHE_PATH": "warp",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
}
_EVENTS = {  # of jax.monitoring
    "/jax/core/compile/jaxpr_trace_duration": "tracing_s",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering_s",
    "/jax/core/compile/backend_compile_duration": "compile_s",
}


def measure(config: Config, spawned: float) -> dict[str, float]:
    """Seconds of each part of this process's life since `spawned`, as `time.time` counts.

    `imports_s` runs from the process's start to the end of all imports; `compile_s` counts fetching from the cache
    where a program is there. The parts of jax lie within `first_step_s`, and elsewhere where objects are built; they
    are absent where no jax runs. `first_update_s` includes compiling and capturing the updates.
    """
    from mjxrl.measurement.setting import set_up

    setting = set_up(config, repeats=1, seconds=0)
    compiling = _Compiling() if setting.backend != "native" else None
    import torch

    from mjxrl.learners import make_learner
    from mjxrl.replay import Replay

    importlib.import_module("mjxrl.training.trainer")  # all that a run imports
    if not setting.task.analytic:
        importlib.import_module("mjxrl.physics." + {"native": "native", "jax": "mjx", "warp": "warp"}[setting.backend])
    imported = time.time()
    env, sizes = setting.env(), setting.sizes
    learner = make_learner(config, *sizes, setting.device)
    limit = setting.task.max_episode_steps
    replay = Replay(config.num_envs, *sizes, capacity=config.replay.capacity, time_limit=limit, device=setting.device)
    generator = torch.Generator(setting.device).manual_seed(config.seed)
    built = time.time()
    obs = env.reset()
    replay.start(obs)
    learner.start(obs)
    action = learner.act(obs, generator)
    result = env.step(action)
    replay.append(action, result)
    setting.synchronize()
    stepped = time.time()
    learner.warm_up(replay)
    learner.update(replay, 1, generator)
    setting.synchronize()
    ready = time.time()
    return {
        "imports_s": imported - spawned,
        "build_s": built - imported,
        "first_step_s": stepped - built,
        "first_update_s": ready - stepped,
        "ready_s": ready - spawned,
        **(compiling.seconds() if compiling else {}),
    }


class _Compiling:
    """How long jax traces, lowers and compiles from now on; imports jax."""

    def __init__(self) -> None:
        import jax

        self._intervals: dict[str, list[tuple[float, float]]] = {name: [] for name in _EVENTS.values()}
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event in _EVENTS:  # at its end
            now = time.perf_counter()
            self._intervals[_EVENTS[event]].append((now - duration_secs, now))

    def seconds(self) -> dict[str, float]:
        """A program traced within another one counts once."""
        return {name: union(intervals) for name, intervals in self._intervals.items()}
