"""What a task is: observation, reward, termination and reset as pure functions of arrays.

A task is a frozen dataclass whose fields are its constructor keywords. Its methods are written against an array
namespace `xp` (numpy in float64 on the native backend, jax.numpy in float32 on MJX), take all worlds at once (arrays
are `(N, …)`), hold no state and no random generator, and read the simulation only through a `View`.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

import mujoco
import numpy as np

Array = Any  # numpy.ndarray, or jax.Array while a program is traced
Namespace = Any  # the module numpy, or jax.numpy
Distribution = Literal["uniform", "normal"]  # uniform on [-1, 1), standard normal

# Keywords of Gymnasium's MuJoCo environments (gymnasium/envs/mujoco/mujoco_env.py) that only say how to draw one world
_RENDERING = (
    "render_mode",
    "width",
    "height",
    "camera_id",
    "camera_name",
    "default_camera_config",
    "max_geom",
    "visual_options",
)


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
    """First state of a fresh episode in every world: qpos `(N, nq)`, qvel `(N, nv)` and the task's carry."""

    qpos: Array
    qvel: Array
    carry: Mapping[str, Array] = {}


@dataclass(frozen=True)
class Task:
    """Base of all tasks; subclass it, name the MJCF in `xml_file` and write the functions below.

    Attributes:
        fields: the MjData fields that the view holds.
        max_episode_steps: time limit, in environment steps.
        gymnasium_id: the Gymnasium environment that this task equals, or None for a task of your own.
        max_contacts: contacts of each dimension (condim) that a world has at most, for which MJX then makes room; None:
            every pair of geoms that could touch. It decides MJX's cost; a step that fills it is counted.
    """

    fields: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    max_episode_steps: ClassVar[int] = 1000
    gymnasium_id: ClassVar[str | None] = None
    max_contacts: ClassVar[int | None] = None

    xml_file: str = ""
    frame_skip: int = 1

    def __new__(cls, *_: Any, **keywords: Any) -> Self:
        """Refuse keywords that the task does not have.

        Raises:
            TypeError: the message names the keyword and says why.
        """
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        for name in keywords.keys() - known:
            if name in _RENDERING:
                raise TypeError(f"{cls.__name__}: {name} is for rendering: give it to Gymnasium's own environment")
            close = get_close_matches(name, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise TypeError(f"{cls.__name__} has no keyword {name}{hint}: allowed are {', '.join(known)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check the keywords' values.

        Raises:
            TypeError: a value is not of its keyword's type.
            ValueError: frame_skip is not positive.
        """
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _fits(hints[field.name], value):
                wanted = inspect.formatannotation(hints[field.name])
                raise TypeError(f"{type(self).__name__}: {field.name} must be {wanted}, not {value!r}")
        if self.frame_skip < 1:
            raise ValueError(f"{type(self).__name__}: frame_skip must be 1 or more, not {self.frame_skip}")

    def observation(self, xp: Namespace, view: View) -> Array:
        """Observation `(N, O)`; by default qpos and qvel side by side."""
        return xp.concatenate([view.qpos, view.qvel], axis=1)

    def reward(self, xp: Namespace, before: View, after: View, action: Array) -> dict[str, Array]:
        """Named reward terms, each `(N,)`; their sum is the reward. `action` `(N, nu)` is in control units."""
        raise NotImplementedError(f"{type(self).__name__} defines no reward")

    def terminated(self, xp: Namespace, view: View) -> Array:
        """Whether each world has reached a terminal state, `(N,)` bool; by default never."""
        return xp.zeros(view.qpos.shape[0], bool)

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

    def dynamics(self, xp: Namespace, qpos: Array, qvel: Array, ctrl: Array) -> tuple[Array, Array]:
        """qpos `(N, nq)` and qvel `(N, nv)` one environment step later.

        Only a task with dynamics of its own defines it: `model` then gives sizes and control ranges, and MuJoCo does
        not simulate it.
        """
        raise NotImplementedError(f"{type(self).__name__} is simulated by MuJoCo")

    @property
    def analytic(self) -> bool:
        """Whether the task has dynamics of its own."""
        return type(self).dynamics is not Task.dynamics

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The compiled MJCF, read from the path `xml_file` or, for a bare name, from Gymnasium's own assets.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return mujoco.MjModel.from_xml_path(str(self.xml_path))

    @property
    def xml_path(self) -> Path:
        """The MJCF file that `xml_file` names; raises FileNotFoundError if there is none."""
        path = Path(self.xml_file).expanduser()
        if not self.xml_file.startswith(("~", ".", "/")):
            path = gymnasium_assets() / self.xml_file
        if not path.is_file():
            raise FileNotFoundError(f"xml_file {self.xml_file!r}: no such MJCF file ({path})")
        return path

    @cached_property
    def dt(self) -> float:
        """Seconds of simulated time per environment step."""
        return self.model.opt.timestep * self.frame_skip

    @cached_property
    def init_qpos(self) -> np.ndarray:
        """The model's default joint positions, `(nq,)`."""
        return self.model.qpos0.copy()


def _fits(hint: Any, value: Any) -> bool:
    """Whether `value` may be given for the type `hint`; types that no task of ours uses are let through."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is tuple and Ellipsis not in args:
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(args)
            and all(_fits(arg, item) for arg, item in zip(args, value, strict=True))
        )
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return True


def gymnasium_assets() -> Path:
    """Folder of the MJCF files that the installed Gymnasium ships, found without importing it."""
    spec = find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gymnasium is not installed: pip install gymnasium")
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets"
