"""Our worlds through Gymnasium's vector API: `gymnasium.make_vec("mjxrl/Ant-v5", num_envs=…, backend=…)` after
`import mjxrl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector import VectorEnv as GymnasiumVectorEnv
from gymnasium.vector.utils import batch_space

from mjxrl.envs import TASKS
from mjxrl.worlds.actions import to_actions

if TYPE_CHECKING:
    from mjxrl.worlds.worlds import StepResult


def register() -> None:
    """Add every task to Gymnasium's registry, in the namespace `mjxrl`."""
    for env_id in TASKS:
        name = f"mjxrl/{env_id}"
        if name not in gymnasium.registry:
            gymnasium.register(name, vector_entry_point=MjxrlVectorEnv, kwargs={"env_id": env_id})


class MjxrlVectorEnv(GymnasiumVectorEnv):
    """`mjxrl.make_vec` as a Gymnasium vector environment.

    Spaces are those of Gymnasium's own environment: actions in control units, observations unbounded.
    `info["diverged"]` `(N,)` marks worlds whose simulation broke down: their episode ended and their numbers are zeros.

    Args:
        num_envs: worlds N.
        env_id: the task.
        numpy: give NumPy arrays instead of torch tensors, as wrappers that compute in NumPy need it
            (RecordEpisodeStatistics, NormalizeObservation).
        autoreset_mode: SAME_STEP: worlds restart within the step that ends their episode; `info["final_obs"]` then
            holds every world's true next observation `(N, O)` and `info["_final_obs"]` says, `(N,)` bool, in which
            worlds it differs from what is returned. NEXT_STEP, which wrappers of observations ask for: the step after
            takes no action there and returns the first observation of the new episode.
        keywords: as `mjxrl.make_vec` takes them: backend, device, seed, physics, and the task's own.

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        env_id: str,
        numpy: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        **keywords: Any,
    ) -> None:
        from mjxrl.worlds.vector_env import make_vec

        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.DISABLED:
            raise ValueError("autoreset_mode is DISABLED: allowed: SAME_STEP, NEXT_STEP")
        self._worlds, self._numpy = make_vec(env_id, num_envs, **keywords), numpy
        self._waiting: Any = None  # (N,) bool where the next step only begins an episode, as NEXT_STEP has it
        self._low, self._high = self._worlds.control_range
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode}
        self.single_action_space = Box(self._low.astype(np.float32), self._high.astype(np.float32))
        self.single_observation_space = Box(-np.inf, np.inf, (self._worlds.obs_size,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Restart every world; `seed` starts the random numbers over. There are no options."""
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        self._waiting = None
        return self._out(self._worlds.reset(seed)), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every world under `actions` `(N, A)` in control units, arrays or tensors."""
        import torch

        controls, low, high = (
            torch.as_tensor(x, dtype=torch.float32, device=self._worlds.device)
            for x in (actions, self._low, self._high)
        )
        scaled = to_actions(controls, low, high)
        if self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP:
            result, info = self._step_and_wait(scaled), {}
        else:
            result = self._worlds.step(scaled)
            info = {"final_obs": self._out(result.final_obs), "_final_obs": self._out(result.done)}
        info["diverged"] = self._out(result.diverged)
        info |= {name: self._out(term) for name, term in result.reward_terms.items()}
        out = (self._out(x) for x in (result.obs, result.reward, result.terminated, result.truncated))
        return *out, info

    def close_extras(self, **_: Any) -> None:
        """Let go of the worlds."""
        self._worlds.close()

    def _step_and_wait(self, action: Any) -> StepResult:
        """A step in which an episode that ends shows its last observation, and one that waits for it only begins."""
        import torch

        result, waiting = self._worlds.step(action), self._waiting
        self._waiting = result.done if waiting is None else result.done & ~waiting
        result = result._replace(obs=result.final_obs)
        if waiting is None or not waiting.any():
            return result
        first = self._worlds.restart(waiting)  # the worlds have gone one step on, which does not count
        return result._replace(
            obs=torch.where(waiting.unsqueeze(-1), first, result.obs),
            reward=result.reward.masked_fill(waiting, 0),
            terminated=result.terminated & ~waiting,
            truncated=result.truncated & ~waiting,
            reward_terms={name: term.masked_fill(waiting, 0) for name, term in result.reward_terms.items()},
        )

    def _out(self, tensor: Any) -> Any:
        return np.array(tensor.cpu()) if self._numpy else tensor  # a copy: some wrappers write into it
