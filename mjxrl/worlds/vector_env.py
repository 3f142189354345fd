"""`make_vec`: thousands of worlds of one task that take and give torch tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mjxrl.config import PhysicsConfig
from mjxrl.envs import task_class
from mjxrl.envs.task import Task
from mjxrl.physics import Physics, control_range, make_physics
from mjxrl.physics.torch_arrays import TorchNamespace
from mjxrl.worlds import on_torch
from mjxrl.worlds.numpy_runner import NumpyRunner
from mjxrl.worlds.pictures import Pose
from mjxrl.worlds.program import EnvState, vector_reset, vector_restart, vector_set_state, vector_step
from mjxrl.worlds.runner import Runner, on_host, require_idle
from mjxrl.worlds.shapes import observation_size
from mjxrl.worlds.worlds import Goals, StepResult, Worlds


class VectorEnv(Worlds):
    """`num_envs` worlds of one task; a world restarts by itself within the step that ends its episode.

    Attributes:
        task: the task simulated.
        num_envs: N, the number of worlds.
        obs_size: O, the length of an observation.
        action_size: A, the length of an action.
        device: where the tensors live.
        max_episode_steps: the task's time limit.
        state: everything that the next step depends on, in the backend's arrays.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        *,
        backend: str,
        device: torch.device,
        seed: int = 0,
        stagger: bool = False,
        physics: PhysicsConfig | None = None,
    ) -> None:
        """Build the worlds; nothing is simulated or compiled before `reset`.

        Args:
            stagger: start the first episodes at random points of the time limit.

        Raises:
            TaskError: one of the task's functions returns what worlds cannot use.
            Refusal: the task cannot be simulated on this backend (the message says why).
        """
        self.task, self.num_envs, self.device = task, num_envs, device
        self.max_episode_steps = task.max_episode_steps
        self.obs_size = observation_size(task)
        self._physics, self._runner = make_backend(task, num_envs, backend, device, physics or PhysicsConfig())
        if task.goals is not None:
            self.goals = Goals(*task.goals, partial(task.goal_reward, TorchNamespace(device)))
        self._seed = seed
        self._reset = self._runner.compile(partial(vector_reset, task, self._physics, stagger))
        self._set_state = self._runner.compile(partial(vector_set_state, task, self._physics))
        self._restart = self._runner.compile(partial(vector_restart, task, self._physics))
        self._step = self._runner.compile(partial(vector_step, task, self._physics))
        self.action_size = len(self._physics.ctrl_low)

    @property
    def control_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest control of each actuator, `(A,)` each, which actions -1 and 1 stand for."""
        return control_range(self.task)

    @property
    def state(self) -> EnvState:
        return self._runner.state

    def reset(self, seed: int | None = None) -> Tensor:
        """Restart every world from a fresh draw; returns the first observations `(N, O)`.

        Args:
            seed: start the random numbers of all further resets over; by default they go on.
        """
        state, random = self._simulator(seed)
        self._runner.state, obs = self._reset(state, random)
        return self._runner.to_torch(obs)

    def restart(self, mask: Tensor) -> Tensor:
        """Begin a new episode in the worlds of `mask`, `(N,)` bool; returns the observations of all worlds `(N, O)`."""
        self._settle()
        self._runner.state, obs = self._restart(self.state, self._runner.from_torch(mask))
        return self._runner.to_torch(obs)

    def set_state(self, qpos: Any, qvel: Any) -> Tensor:
        """Put all worlds at `qpos` `(N, nq)` and `qvel` `(N, nv)`; returns the observations there.

        Warm start, simulated time, controls and elapsed steps are zero afterwards, and fields derived from forces
        (cfrc_ext) read zero until the next step, as after a reset in Gymnasium. A task's carry and the places of its
        mocap bodies are drawn afresh.

        Raises:
            ValueError: a shape is wrong.
        """
        model = self.task.model
        values = []
        for name, value, size in (("qpos", qpos, model.nq), ("qvel", qvel, model.nv)):
            tensor = torch.as_tensor(value)
            if tuple(tensor.shape) != (self.num_envs, size):
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected ({self.num_envs}, {size})")
            values.append(self._runner.from_torch(tensor))
        state, random = self._simulator(None)
        random, noise = self._physics.draw(random, self.task.reset_noise())
        first = self.task.reset(self._physics.xp, noise)._replace(qpos=values[0], qvel=values[1])
        self._runner.state, obs = self._set_state(state, random, first)
        return self._runner.to_torch(obs)

    def step(self, action: Tensor | np.ndarray) -> StepResult:
        """Advance all worlds by one environment step.

        Args:
            action: `(N, A)` in [-1, 1], scaled to the control range of each actuator.

        Raises:
            ValueError: `action` has another shape.
            RuntimeError: the worlds were never reset.
        """
        return self._runner.step(self._step, self._checked(action))

    def dispatch(self, action: Tensor | np.ndarray) -> None:
        """Start a step and return at once; `collect` gives its result. `step` is these two at once."""
        self._runner.dispatch(self._step, self._checked(action))

    def collect(self) -> StepResult:
        """Wait for the step that `dispatch` started."""
        return self._runner.collect()

    def close(self) -> None:
        """End the thread that steps the worlds."""
        self._runner.close()

    def pose(self) -> Pose:
        """Where the worlds are now, for a picture of them.

        Raises:
            RuntimeError: a step is under way.
        """
        state = self._simulator(None)[0]
        target = self.task.target(self._physics.xp, self.state.view)
        if target is not None:
            target = target._replace(position=on_host(target.position), distance=on_host(target.distance))
        return Pose({name: on_host(array) for name, array in self._physics.pose(state).items()}, target)

    def overflows(self) -> int:
        """World steps so far in which the room for contacts was full (`--physics.max-contacts`); waits for the device.

        0 says that no contact was lost.
        """
        return int(self._physics.overflows(self.state.physics).sum())

    def twin(self) -> VectorEnv:
        """Other worlds that the same programs step, which are compiled once for both (not on native, where they would
        share their state)."""
        other, runner = copy.copy(self), type(self._runner)
        other._runner = runner(self.device)  # type: ignore[call-arg]
        return other

    def program_bytes(self) -> int | None:
        """What the compiled step takes on its device, by the compiler's own account; None on native and where unknown.

        It compiles the step, which is not compiled again when it first runs; no random number is used up.
        """
        # before the first reset the worlds of another one serve, which are gone again with the answer
        state = self.state if hasattr(self._runner, "state") else self._reset(*self._simulator(None))[0]
        action = torch.zeros(self.num_envs, self.action_size, device=self.device)
        return self._runner.program_bytes(self._step, state, action)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies, on the host, of all that the next step depends on: simulator, views, carry, random state."""
        return {name: torch.from_numpy(array) for name, array in self._runner.save().items()}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Put the worlds back where `state_dict` found them, bit for bit.

        Raises:
            MisfitError: it was saved from another task or number of worlds.
        """
        self.reset()  # for the structure
        self._runner.load({name: tensor.numpy() for name, tensor in saved.items()})

    def _checked(self, action: Tensor | np.ndarray) -> Tensor:
        """`action` as a tensor, once it is sure that a step can take it."""
        if not hasattr(self._runner, "state"):
            raise RuntimeError("reset the worlds before their first step")
        tensor = torch.as_tensor(action)
        if tuple(tensor.shape) != (self.num_envs, self.action_size):
            shape, expected = tuple(tensor.shape), (self.num_envs, self.action_size)
            raise ValueError(f"action has shape {shape}, expected {expected}")
        return tensor

    def _settle(self) -> None:
        """Make sure that nothing is under way that depends on the state."""
        require_idle(self._runner)
        if self.device.type == "cuda":  # torch may still be reading results, whose memory jax will use again
            torch.cuda.current_stream(self.device).synchronize()

    def _simulator(self, seed: int | None) -> tuple[Any, Any]:
        """The simulator's state and the random state that the next draw starts from."""
        self._settle()
        if not hasattr(self._runner, "state"):
            return self._physics.init(self._seed if seed is None else seed)
        return self.state.physics, self.state.random if seed is None else self._physics.init(seed)[1]


def make_vec(
    env_id: str | type[Task],
    num_envs: int = 64,
    *,
    backend: str = "auto",
    device: str = "auto",
    seed: int = 0,
    physics: PhysicsConfig | None = None,
    **task_keywords: Any,
) -> VectorEnv:
    """Worlds of the Gymnasium environment `env_id`, of `my_module:MyTask`, or of a task's class.

    Args:
        backend: "auto", "jax" (MJX, float32), "warp" (MuJoCo Warp, float32) or "native" (MuJoCo in C on the CPU,
            float64).
        device: "auto", "cpu" or "cuda": where the tensors live, and where jax and warp simulate.
        seed: of every random draw.
        task_keywords: the task's own keywords, named as in Gymnasium's constructor.

    Raises:
        ValueError: an unknown task, backend or device.
        TypeError: a keyword that the task does not have.
    """
    from mjxrl.machine import devices, settings

    env = env_id if isinstance(env_id, str) else ""
    machine = devices.resolve(device, backend, num_envs=num_envs, env=env)
    if machine.backend != "native":
        settings.set_up(machine.device, machine.backend)
    settings.keep_mujoco_log_out_of_the_way()
    task = (env_id if isinstance(env_id, type) else task_class(env_id))(**task_keywords)
    where = torch.device(machine.device)
    return VectorEnv(task, num_envs, backend=machine.backend, device=where, seed=seed, physics=physics)


def make_backend(
    task: Task, num_envs: int, backend: str, device: torch.device, config: PhysicsConfig | None = None
) -> tuple[Physics, Runner]:
    """The physics of `num_envs` worlds, and what runs its programs.

    Raises:
        TaskError: a function of the task cannot run on torch, as it must on warp.
        Refusal: the task cannot be simulated on this backend.
    """
    if backend == "warp":
        on_torch.check(task)
    physics = make_physics(task, num_envs, backend, config, str(device))
    if backend == "native":
        return physics, NumpyRunner(device)
    if backend == "warp":
        from mjxrl.worlds.torch_runner import TorchRunner

        return physics, TorchRunner(device)
    from mjxrl.worlds.jax_runner import JaxRunner

    return physics, JaxRunner(device)
