"""Room for contacts in MJX-JAX: fewer rows, nothing lost, and a count if something might have been."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjxrl.config import PhysicsConfig
from mjxrl.envs import task_class
from mjxrl.envs.task import Controls, Reset, Task
from mjxrl.physics import contacts
from mjxrl.physics.mjx import MjxPhysics
from mjxrl.physics.solver import cap_in_xml

BALL = '<body pos="{} 0 0"><joint type="slide" axis="0 0 1"/><geom size=".1" condim="{}" contype="0"/></body>'
BALLS = f"""
  <mujoco>
    <option timestep="0.002"/>
    <worldbody><geom type="plane" size="9 9 1" condim="1"/>
      {"".join(BALL.format(x, 1 if x < 2 else 3) for x in range(6))}
    </worldbody>
  </mujoco>"""  # two frictionless balls and four with friction, over a plane


@dataclass(frozen=True)
class Balls(Task):
    fields: ClassVar = ("qpos", "qvel")
    max_contacts: ClassVar = 3
    model: ClassVar = mujoco.MjModel.from_xml_string(BALLS)  # type: ignore[assignment]
    frame_skip: int = 2


def test_the_deepest_contacts_have_room() -> None:
    physics = MjxPhysics(Balls(), 1)
    state, _ = physics.init(0)
    assert state.data._impl.contact.dim.tolist() == [1, 1, 3, 3, 3]
    assert contacts.candidates(Balls().model).tolist() == [1, 1, 3, 3, 3, 3]
    assert contacts.capped_groups(Balls().model, 3) == [slice(2, 5)]


def test_a_world_whose_room_is_full_is_counted() -> None:
    physics = MjxPhysics(Balls(), 4)
    state, _ = physics.init(0)
    height = np.full((4, 6), 0.5, np.float32)
    height[0, :2] = 0.09  # the frictionless ones: they have all the room there can be
    height[1, 2:4] = 0.09  # two of three places
    height[2, 2:5] = 0.09  # all three
    height[3, 2:6] = 0.09  # one too many
    put, step = jax.jit(physics.set_where), jax.jit(physics.step)
    state = put(state, jnp.ones(4, bool), Reset(jnp.asarray(height), jnp.zeros((4, 6))))
    state = step(state, Controls(jnp.zeros((4, 0))))
    assert physics.overflows(state).tolist() == [0, 0, 1, 1]  # once, though there are two substeps
    assert physics.overflows(step(state, Controls(jnp.zeros((4, 0))))).tolist() == [0, 0, 2, 2]
    lifted = put(state, jnp.ones(4, bool), Reset(jnp.full((4, 6), 0.5), jnp.zeros((4, 6))))
    assert physics.overflows(step(lifted, Controls(jnp.zeros((4, 0))))).tolist() == [0, 0, 1, 1]  # none since


@pytest.mark.parametrize(
    ("env_id", "dims"), [("Ant-v5", {3: 8}), ("Humanoid-v5", {1: 12, 3: 12}), ("HumanoidStandup-v5", {1: 16, 3: 16})]
)
def test_tasks_have_room_for_what_c_finds(env_id: str, dims: dict[int, int]) -> None:
    task = task_class(env_id)()
    physics = MjxPhysics(task, 1)
    found = np.unique(jax.eval_shape(partial(physics.init, 0))[0].data._impl.contact.dim, return_counts=True)
    assert dict(zip(*(x.tolist() for x in found), strict=True)) == dims
    # random controls, each held for a while, from the task's own first states: C never finds more
    rng, data = np.random.default_rng(0), mujoco.MjData(task.model)
    low, high = task.model.actuator_ctrlrange.T
    for _ in range(10):
        noise = {k: rng.uniform(-1, 1, (1, size)) for k, (_, size) in task.reset_noise().items()}
        mujoco.mj_resetData(task.model, data)
        data.qpos[:] = task.reset(np, noise).qpos[0]
        for step in range(50):
            if step % 10 == 0:
                data.ctrl[:] = rng.uniform(low, high)
            mujoco.mj_step(task.model, data, task.frame_skip)
            for dim, room in dims.items():
                assert (data.contact.dim == dim).sum() < room


def test_the_cap_of_an_xml_is_read_where_it_is() -> None:
    numerics = '<custom><numeric name="other" data="1 7 3"/><numeric name="max_contact_points" data="2"/></custom>'

    @dataclass(frozen=True)
    class Own(Balls):
        max_contacts: ClassVar = None
        model: ClassVar = mujoco.MjModel.from_xml_string(BALLS.replace("<worldbody>", numerics + "<worldbody>"))  # type: ignore[assignment]

    def rooms(task: Task, **options: int) -> int:
        return len(MjxPhysics(task, 1, PhysicsConfig(**options)).init(0)[0].data._impl.contact.dim)  # type: ignore[arg-type]

    assert cap_in_xml(Own().model) == 2
    assert rooms(Own()) == 4 and rooms(Own(), max_contacts=1) == 2
    # Ant's other numeric, `init_qpos`, must not be taken for one
    assert cap_in_xml(task_class("Ant-v5")().model) is None
