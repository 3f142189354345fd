"""Gymnasium's vector API: `gymnasium.make_vec("mjxrl/Ant-v5", num_envs=…, backend=…)` after `import mjxrl`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector import VectorEnv as GymnasiumVectorEnv
from gymnasium.vector.utils import batch_space

from mjxrl.envs import TASKS


def register() -> None:
    """Add every task to Gymnasium's registry, in the namespace `mjxrl`."""
    for env_id in TASKS:
        name = f"mjxrl/{env_id}"
        if name not in gymnasium.registry:
            gymnasium.register(name, vector_entry_point=MjxrlVectorEnv, kwargs={"env_id": env_id})


class MjxrlVectorEnv(GymnasiumVectorEnv):
    """`mjxrl.make_vec` as a Gymnasium vector environment.

    Spaces are those of Gymnasium's own environment: actions in control units, observations unbounded. Worlds restart
    within the step that ends their episode (SAME_STEP); `info["final_obs"]` then holds every world's true next
    observation `(N, O)` and `info["_final_obs"]` says, `(N,)` bool, in which worlds it differs from what is returned.
    `info["diverged"]` `(N,)` marks worlds whose simulation broke down: their episode ended and their numbers are zeros.

    Args:
        num_envs: worlds N.
        env_id: the task.
        numpy: give NumPy arrays instead of torch tensors, as wrappers that compute in NumPy need it
            (RecordEpisodeStatistics, NormalizeObservation).
        keywords: as `mjxrl.make_vec` takes them: backend, device, seed, physics, and the task's own.
    """

    def __init__(self, num_envs: int = 1, *, env_id: str, numpy: bool = False, **keywords: Any) -> None:
        from mjxrl.worlds.vector_env import make_vec

        self._env = make_vec(env_id, num_envs, **keywords)
        self._numpy = numpy
        low, high = self._env.control_range
        self._center, self._half = (high + low) / 2, (high - low) / 2
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self.single_observation_space = Box(-np.inf, np.inf, (self._env.obs_size,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restart every world; `seed` starts the random numbers over. There are no options."""
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        return self._out(self._env.reset(seed)), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every world under `actions` `(N, A)` in control units, arrays or tensors."""
        import torch

        device = self._env.device
        center, half = (torch.as_tensor(x, dtype=torch.float32, device=device) for x in (self._center, self._half))
        scaled = (torch.as_tensor(actions, dtype=torch.float32, device=device) - center) / half
        result = self._env.step(scaled)
        info: dict[str, Any] = {}
        info["final_obs"], info["_final_obs"] = self._out(result.final_obs), self._out(result.done)
        info["diverged"] = self._out(~result.valid)
        info |= {name: self._out(term) for name, term in result.reward_terms.items()}
        out = (self._out(x) for x in (result.obs, result.reward, result.terminated, result.truncated))
        return *out, info

    def _out(self, tensor: Any) -> Any:
        return tensor.cpu().numpy() if self._numpy else tensor
