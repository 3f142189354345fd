"""What a task is: observation, reward, termination and reset as pure functions of arrays.

A task is a frozen dataclass whose fields are its constructor keywords. Its methods are written against an array
namespace `xp` (numpy in float64 on the native backend, jax.numpy in float32 on MJX, numpy's names on torch's float32
tensors on Warp), take all worlds at once (arrays are `(N, …)`), hold no state and no random generator, and read the
simulation only through a `View`. Functions of `xp` mean the same everywhere; methods of arrays are each library's own,
and a constant of the host meets them through `xp.asarray`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import mujoco
import numpy as np

from mjxrl.errors import TaskError

from . import keywords as rules

Array = Any  # numpy.ndarray, torch.Tensor, or jax.Array while a program is traced
Namespace = Any  # the module numpy, or jax.numpy, or a TorchNamespace
Distribution = Literal["uniform", "normal"]  # uniform on [-1, 1), standard normal


class View(NamedTuple):
    """What a task sees of every world at one instant; `view.qpos` reads `view.arrays["qpos"]`.

    `arrays` holds the MjData fields that the task names in `fields`, each `(N, …)`, as MuJoCo leaves them: after a
    step, fields derived from qpos and qvel (xpos, cvel, …) are one substep behind, exactly as Gymnasium reads them.
    `carry` holds the task's own per-world arrays.
    """

    arrays: Mapping[str, Array]
    carry: Mapping[str, Array]

    def __getattr__(self, name: str) -> Array:
        arrays = tuple.__getitem__(self, 0)
        if name in arrays:
            return arrays[name]
        raise AttributeError(f"the view holds {sorted(arrays)}, not {name!r}: name it in the task's `fields`")


class Reset(NamedTuple):
    """First state of a fresh episode in every world: qpos `(N, nq)`, qvel `(N, nv)` and the task's carry.

    `mocap_pos` `(N, nmocap, 3)` in metres and `mocap_quat` `(N, nmocap, 4)` place the mocap bodies, such as a goal;
    None leaves them as the MJCF has them.
    """

    qpos: Array
    qvel: Array
    carry: Mapping[str, Array] = {}
    mocap_pos: Array | None = None
    mocap_quat: Array | None = None


class Controls(NamedTuple):
    """What drives a step: ctrl `(N, nu)` in control units, and where mocap bodies are meanwhile.

    `mocap_pos` `(N, nmocap, 3)` in metres, `mocap_quat` `(N, nmocap, 4)`, which MuJoCo normalises; None leaves them.
    """

    ctrl: Array
    mocap_pos: Array | None = None
    mocap_quat: Array | None = None


class Goals(NamedTuple):
    """Columns of an observation, G each: what is achieved, and what is wanted; and how near is near enough."""

    achieved: slice
    desired: slice
    threshold: float
    """Distance between the two within which the goal counts as reached."""


class Target(NamedTuple):
    """Where something is to be brought: `position` `(N, 3)`, and how far it is, `distance` `(N,)`; all in metres.

    Below the distance `within` the target is reached.
    """

    position: Array
    distance: Array
    within: float


@dataclass(frozen=True)
class Task:
    """Base of all tasks; subclass it, name the MJCF in `xml_file` and write the functions below.

    A subclass's fields are keywords, whether or not it repeats `@dataclass(frozen=True)`.

    Attributes:
        fields: the MjData fields that the view holds, `time` `(N,)` in seconds among them, each shaped as in MjData.
        gymnasium_id: the Gymnasium environment that this very class equals; a subclass is another task and has none
            unless it names one.
        goals: where observations hold a goal and what is achieved of it, if they do; `goal_reward` is then defined too.
        refused_by: backends that cannot simulate the task, with the reason.
        camera: from where films look, by the names of MuJoCo's mjvCamera: lookat (3,) and distance in metres, azimuth
            and elevation in degrees; empty: a camera of the model's that follows something, or from where all shows.
        max_contacts: contacts of each dimension (condim) that a world has at most, for which MJX then makes room; None:
            every pair of geoms that could touch. It decides MJX's cost; a step that fills it is counted.
        xml_file: the MJCF: a path that starts with / . or ~, or the name of one of Gymnasium's. A compiled model (.mjb)
            will do.
        frame_skip: MuJoCo's steps in a step of the environment.
        max_episode_steps: time limit, in environment steps.
    """

    fields: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    gymnasium_id: ClassVar[str | None] = None
    goals: ClassVar[Goals | None] = None
    refused_by: ClassVar[Mapping[str, str]] = MappingProxyType({})
    camera: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    max_contacts: ClassVar[int | None] = None

    xml_file: str = ""
    frame_skip: int = 1
    _: KW_ONLY
    max_episode_steps: int = 1000

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for parent in cls.__mro__[:0:-1]:
            if issubclass(parent, Task):
                rules.as_dataclass(parent)
        rules.take_defaults(cls)
        if "gymnasium_id" not in vars(cls):
            cls.gymnasium_id = None

    def __new__(cls, *_: Any, **keywords: Any) -> Self:
        """Refuse keywords that the task does not have.

        Raises:
            KeywordError: the message names the keyword and says why.
        """
        rules.as_dataclass(cls)
        rules.refuse_unknown(cls, keywords)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the keywords' values, and make relative paths absolute.

        Raises:
            KeywordError: a value is not of its keyword's type, or frame_skip or max_episode_steps is not positive.
        """
        rules.settle(self)

    def observation(self, xp: Namespace, view: View) -> Array:
        """Observation `(N, O)`; by default qpos and qvel side by side."""
        return xp.concatenate([view.qpos, view.qvel], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        """Named reward terms, each `(N,)`; their sum is the reward. `action` `(N, A)` is in control units."""
        raise NotImplementedError(f"{type(self).__name__} defines no reward")

    def terminated(self, xp: Namespace, view: View) -> Array:
        """Whether each world has reached a terminal state, `(N,)` bool; by default never."""
        return xp.zeros(view.qpos.shape[0], bool)

    def goal_reward(self, xp: Namespace, achieved: Array, desired: Array) -> Array:
        """The part of the reward that depends on the goal, `(...)`, for goals `(..., G)`, on torch too."""
        raise NotImplementedError(f"{type(self).__name__} has no goals")

    def outcome(self, xp: Namespace, view: View) -> dict[str, Array]:
        """What to report of an episode that ends here, each `(N,)`; a `success` decides which policy is best."""
        return {}

    def controls(self, xp: Namespace, view: View, action: Array) -> Controls:
        """What `action` `(N, A)`, in the units of `action_range`, makes of a step from `view`; by default itself."""
        return Controls(action)

    def settled(self, xp: Namespace, view: View) -> Array | None:
        """A last edit after a step: the qpos `(N, nq)` to put in place, from which all fields are computed anew."""
        return None

    def reset_noise(self) -> dict[str, tuple[Distribution, int]]:
        """The random numbers that one reset needs, by name: their distribution and how many per world."""
        return {"qpos": ("uniform", self.model.nq), "qvel": ("uniform", self.model.nv)}

    def reset(self, xp: Namespace, noise: Mapping[str, Array]) -> Reset:
        """Turn drawn `noise`, each `(N, size)`, into first states; by default the model's own, without noise."""
        worlds = noise["qpos"].shape[0]
        return Reset(xp.tile(xp.asarray(self.init_qpos), (worlds, 1)), xp.zeros((worlds, self.model.nv)))

    def next_carry(self, xp: Namespace, before: View, after: View, action: Array) -> Mapping[str, Array]:
        """The carry after a step; `after` still holds the one before it. By default it stays as it was."""
        return before.carry

    def target(self, xp: Namespace, view: View) -> Target | None:
        """Where something is to be brought, for films; by default nowhere."""
        return None

    def dynamics(self, xp: Namespace, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array]:
        """qpos `(N, nq)` and qvel `(N, nv)` one environment step later.

        Only a task with dynamics of its own defines it: `model` then gives sizes and control ranges, and MuJoCo does
        not simulate it.
        """
        raise NotImplementedError(f"{type(self).__name__} is simulated by MuJoCo")

    @property
    def sparse(self) -> bool:
        """Whether the reward says no more of the goal than that it is reached: hindsight is then on by default."""
        return self.goals is not None

    @property
    def action_range(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What actions -1 and 1 stand for, `(A,)` each; None: the range of each control."""
        return None

    @property
    def gymnasium_keywords(self) -> dict[str, Any]:
        """What the constructor of Gymnasium's environment is given to make this very task."""
        return rules.given(self)

    def from_gymnasium(self, obs: Any) -> np.ndarray:
        """The observation `(O,)` that the one of Gymnasium's environment is here."""
        return obs

    @property
    def analytic(self) -> bool:
        """Whether the task has dynamics of its own."""
        return type(self).dynamics is not Task.dynamics

    @property
    def changed_keywords(self) -> dict[str, Any]:
        """The keywords whose values are not the defaults of the class."""
        return rules.changed(self)

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The model that `xml_file` describes.

        Raises:
            TaskError: there is no such file, or MuJoCo cannot make a model of it.
        """
        path = self.xml_path
        read = mujoco.MjModel.from_binary_path if path.suffix == ".mjb" else mujoco.MjModel.from_xml_path
        try:
            return read(str(path))
        except ValueError as error:
            raise TaskError(f"xml_file {self.xml_file!r}: {' '.join(str(error).split())}") from None

    @property
    def xml_path(self) -> Path:
        """The file that `xml_file` names.

        Raises:
            TaskError: there is none.
        """
        path = Path(self.xml_file)
        if not path.is_absolute():
            path = gymnasium_assets() / self.xml_file
        if not path.is_file():
            raise TaskError(f"xml_file {self.xml_file!r}: no such MJCF file ({path})")
        return path

    @cached_property
    def dt(self) -> float:
        """Seconds of simulated time per environment step."""
        return self.model.opt.timestep * self.frame_skip

    @cached_property
    def init_qpos(self) -> np.ndarray:
        """The model's default joint positions, `(nq,)`."""
        return self.model.qpos0.copy()


def gymnasium_assets() -> Path:
    """Folder of the MJCF files that the installed Gymnasium ships, found without importing it."""
    spec = find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gymnasium is not installed: pip install gymnasium")
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets"
