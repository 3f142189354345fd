"""Any Gymnasium environment with Box actions: many of them in one of Gymnasium's vector environments, as worlds.

worlds = make("LunarLanderContinuous-v3", 8)
worlds = GymnasiumWorlds(gymnasium.make_vec("LunarLanderContinuous-v3", 8, vectorization_mode="async"))
"""

from __future__ import annotations

import math
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Space
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from torch import Tensor

from mjxrl.errors import TaskError
from mjxrl.worlds.actions import to_controls
from mjxrl.worlds.worlds import StepResult, Worlds


class GymnasiumWorlds(Worlds):
    """A `gymnasium.vector.VectorEnv`, with any autoreset mode, stepped on a thread beside the learner.

    Its worlds cannot be saved. Episodes may be truncated at any step, as Gymnasium lets any environment do that.

    Args:
        envs: the environments; they are closed with the worlds.
        device: where the tensors live.
        seed: of the first reset.

    Raises:
        TaskError: observations or actions are of a kind that is not supported.
    """

    def __init__(self, envs: VectorEnv, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self._low, self._high = action_bounds(envs.single_action_space)
        self.num_envs, self.device = envs.num_envs, torch.device(device)
        self.obs_size, self.action_size = observation_size(envs.single_observation_space), len(self._low)
        self._envs, self._seed = envs, seed
        # what Gymnasium's own wrappers take one for that does not say
        self._autoreset = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gymnasium")
        self._step: Future[tuple[Any, ...]] | None = None
        self._restarting = np.zeros(self.num_envs, bool)  # worlds that Gymnasium resets in the next step

    def reset(self, seed: int | None = None) -> Tensor:
        seed, self._seed = self._seed if seed is None else seed, None
        # not seed, seed + 1, …: two runs of neighbouring seeds would share all worlds but one
        seeds = None if seed is None else np.random.SeedSequence(seed).generate_state(self.num_envs).tolist()
        obs, _ = self._envs.reset(seed=seeds)
        self._restarting[:] = False
        return self._tensor(obs)

    def dispatch(self, action: Tensor) -> None:
        if self._step is not None:
            raise RuntimeError("a step is under way: collect it first")
        controls = to_controls(action.detach().to("cpu", torch.float64).numpy(), self._low, self._high)
        controls = np.clip(controls, self._low, self._high)  # rounding must not lead out of the space
        self._step = self._worker.submit(self._envs.step, controls.astype(self._envs.single_action_space.dtype))

    def collect(self) -> StepResult:
        if self._step is None:
            raise RuntimeError("no step was dispatched")
        step, self._step = self._step, None
        try:
            obs, reward, terminated, truncated, info = step.result()
        except (EOFError, ConnectionError):
            raise TaskError("a process that steps an environment has died, killed or out of memory") from None
        done, restarted, final_obs = terminated | truncated, self._restarting, obs
        match self._autoreset:
            case AutoresetMode.SAME_STEP:
                if done.any():
                    final_obs = np.array(obs)
                    final_obs[done] = np.stack(list(info["final_obs"][done]))
            case AutoresetMode.DISABLED:
                if done.any():
                    final_obs = np.array(obs)
                    obs, _ = self._envs.reset(options={"reset_mask": done})
            case AutoresetMode.NEXT_STEP:
                self._restarting = done
        if not (np.isfinite(final_obs).all() and np.isfinite(reward).all()):
            raise TaskError("an environment gave an observation or a reward that is not finite")
        return StepResult(
            self._tensor(obs),
            self._tensor(reward),
            self._tensor(terminated),
            self._tensor(truncated),
            self._tensor(final_obs),
            self._tensor(~restarted),
        )

    def close(self) -> None:
        self._worker.shutdown()
        envs = self._envs.unwrapped
        processes = getattr(envs, "processes", [])
        try:
            self._envs.close(
                **({"timeout": 0} if processes else {})
            )  # after a failed step there is nothing to wait for
        except (EOFError, ConnectionError):
            envs.closed = True  # as far as could be: a process has died
        finally:
            for process in processes:
                process.kill()
                process.join()

    def _tensor(self, array: np.ndarray) -> Tensor:
        """A copy, since some vector environments write each step into the same arrays."""
        return torch.tensor(array, dtype=torch.bool if array.dtype == bool else torch.float32, device=self.device)


class ShortFirstEpisode(gymnasium.Wrapper):
    """Truncates the first episode after `share` of the time limit, if the environment has one."""

    def __init__(self, env: gymnasium.Env, share: float) -> None:
        super().__init__(env)
        limit = env.spec.max_episode_steps if env.spec else None
        self._next, self._left = 0 if limit is None else math.ceil(limit * share), 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self._left, self._next = self._next, 0
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._left -= 1
        return obs, reward, terminated, truncated or self._left == 0, info


def make(
    env_id: str,
    num_envs: int,
    *,
    vector: str = "async",
    device: torch.device | str = "cpu",
    seed: int = 0,
    stagger: bool = False,
) -> GymnasiumWorlds:
    """`num_envs` environments of `gymnasium.make(env_id)`.

    Args:
        env_id: a registered id, or `my_module:MyEnv-v0`, for which the module is imported first.
        vector: "async", each in a process of its own, or "sync", one after the other in this one.
        stagger: truncate the first episodes at points that divide the time limit evenly.

    Raises:
        TaskError: there is no such environment, or its observations or actions are of a kind that is not supported.
    """
    sizes(env_id)  # refused before any process starts
    shares = [(world + 1) / num_envs if stagger else 1 for world in range(num_envs)]
    makers = [partial(_make_one, env_id, os.getpid(), share) for share in shares]
    kind: Any = AsyncVectorEnv if vector == "async" else SyncVectorEnv
    return GymnasiumWorlds(kind(makers, autoreset_mode=AutoresetMode.SAME_STEP), device, seed)


@cache
def sizes(env_id: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Length O of an observation, and the lowest and highest action, (A,) each.

    Raises:
        TaskError: as `make`.
    """
    try:
        env = gymnasium.make(env_id)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise TaskError(f"gymnasium.make({env_id!r}): {' '.join(str(error).split())}") from None
    try:
        return observation_size(env.observation_space), *action_bounds(env.action_space)
    finally:
        env.close()


def observation_size(space: Space) -> int:
    """Length O of an observation.

    Raises:
        TaskError: it is no vector of numbers.
    """
    if isinstance(space, Box) and len(space.shape) == 1:
        return space.shape[0]
    what = "images" if isinstance(space, Box) and len(space.shape) in (2, 3) else f"of {type(space).__name__}"
    raise TaskError(
        f"its observations are {what} ({space}): allowed: a Box of one axis, as gymnasium.wrappers.FlattenObservation "
        "makes it"
    )


def action_bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest action, (A,) each.

    Raises:
        TaskError: it is no vector of numbers within finite bounds.
    """
    if isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded():
        return space.low.astype(np.float64), space.high.astype(np.float64)
    raise TaskError(f"its actions are {space}: allowed: a Box of one axis with finite bounds")


def _make_one(env_id: str, trainer: int, first_share: float) -> gymnasium.Env:
    if os.getpid() != trainer:
        # Ctrl-C reaches every process of a terminal: the trainer's ends the run in good order, and this one with it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    env = gymnasium.make(env_id)
    return env if first_share == 1 else ShortFirstEpisode(env, first_share)
