"""What MJX would take and not simulate is refused by name, before anything is compiled."""

from __future__ import annotations

from typing import Any

import pytest

from mjxrl.config import PhysicsConfig
from mjxrl.envs.task import Controls
from mjxrl.errors import UnavailableError
from mjxrl.physics import make_physics
from mjxrl.physics.dropped import dropped
from tests.helpers.arms import MOTORS, Arm, arm

FLOOR = '<geom name="floor" type="plane" size="5 5 1" pos="0 0 -9" {}/>'
SENSOR = '<sensor><jointpos name="angle" joint="a" {}/></sensor>'
TENDON = '<tendon><fixed name="string" {}><joint joint="a" coef="1"/></fixed></tendon>'
IMPLICITFAST = 'integrator="implicitfast"'
MUSCLE = '<muscle name="biceps" joint="a" ctrlrange="0 1" lengthrange="-1 1"/>'
PID = """
  <extension><plugin plugin="mujoco.pid"><instance name="i"><config key="kp" value="5"/></instance></plugin></extension>
  <actuator><plugin name="servo" joint="b" plugin="mujoco.pid" instance="i" ctrlrange="-1 1"/></actuator>"""


def motor(attributes: str) -> str:
    return MOTORS.replace('name="shoulder"', f'name="shoulder" {attributes}')


def flag(attributes: str) -> str:
    return f"<option><flag {attributes}/></option>"


ELEMENTS: list[tuple[dict[str, Any], str]] = [
    ({"actuators": motor('delay=".03" nsample="5"')}, "delay of actuator 'shoulder'"),
    ({"actuators": motor('armature=".1"')}, "armature of actuator 'shoulder'"),
    ({"actuators": motor('damping="1"')}, "damping of actuator 'shoulder'"),
    ({"actuators": motor('damping="0 1"')}, "damping of actuator 'shoulder'"),
    ({"actuators": motor('group="3"'), "option": 'actuatorgroupdisable="3"'}, "disabled group of actuator 'shoulder'"),
    ({"more": PID}, "plugin of actuator 'servo'"),
    ({"actuators": MUSCLE, "option": IMPLICITFAST}, "muscle under implicitfast of actuator 'biceps'"),
    (
        {"actuators": '<general joint="a" dyntype="filterexact" dynprm=".1" actearly="true" ctrlrange="0 1"/>'},
        "actearly of actuator 'number 0'",
    ),
    ({"joint": 'stiffness="1 2"'}, "nonlinear stiffness of joint 'a'"),
    ({"world": '<body><joint name="z" damping="1 2"/><geom size=".1"/></body>'}, "nonlinear damping of joint 'z'"),
    ({"more": TENDON.format('stiffness="1 2"')}, "nonlinear stiffness of tendon 'string'"),
    ({"more": TENDON.format('damping="1 2"')}, "nonlinear damping of tendon 'string'"),
    *(
        (
            {"more": f'<equality><{kind} name="held" body1="lower"/></equality>'},
            "velocity-dependent part of equality 'held'",
        )
        for kind in ('connect anchor="0 0 -.4"', "weld")
    ),
    ({"world": FLOOR.format('surfacevel="1 0 0 0 0 0"')}, "surfacevel of geom 'floor'"),
    ({"world": FLOOR.format('adhesion="3"')}, "adhesion of geom 'floor'"),
    (
        {
            "world": FLOOR.format(""),
            "more": '<contact><pair name="p" geom1="floor" geom2="lower" adhesion="3"/></contact>',
        },
        "adhesion of pair 'p'",
    ),
    (
        {"option": 'density="9"', "world": '<body><joint/><geom name="egg" size=".1" fluidshape="ellipsoid"/></body>'},
        "fluidshape ellipsoid of geom 'egg'",
    ),
    ({"more": SENSOR.format('delay=".03" nsample="5"')}, "delay of sensor 'angle'"),
    ({"more": SENSOR.format('interval=".05"')}, "interval of sensor 'angle'"),
    ({"more": flag('spring="disable"')}, "the flags spring and damper, one without the other"),
    ({"option": 'noslip_iterations="3"'}, "noslip_iterations"),
    ({"more": flag('sleep="enable"')}, "the flag sleep"),
]


@pytest.mark.parametrize(("variant", "named"), ELEMENTS, ids=[named for _, named in ELEMENTS])
def test_what_mjx_drops_is_named(variant: dict[str, Any], named: str) -> None:
    assert dropped(arm(**variant), "jax", ("qpos", "sensordata")) == [named]


def test_what_it_has_is_not() -> None:
    plain = {
        "actuators": MOTORS + MUSCLE,
        "joint": 'stiffness="2" armature=".1" frictionloss=".1"',
        "option": 'density="1" wind="1 0 0" actuatorgroupdisable="7"',
        "more": TENDON.format('stiffness="1" damping="1"')
        + flag('spring="disable" damper="disable"')
        + '<equality><joint joint1="a"/></equality>',
    }
    assert dropped(arm(**plain), "jax", ("sensordata",)) == []


def test_sensors_that_no_task_reads_do_not_matter() -> None:
    assert dropped(arm(more=SENSOR.format('interval=".05"')), "jax", ("qpos",)) == []


def test_warp_drops_less() -> None:
    assert dropped(arm(motor('damping="1"')), "warp", ()) == []
    assert dropped(arm(motor('armature="1"')), "warp", ()) == ["armature of actuator 'shoulder'"]


def task(**variant: Any) -> Arm:
    return type("Mine", (Arm,), {"model": arm(**variant)})()


def test_it_is_refused_in_one_line_unless_that_is_wanted() -> None:
    delayed = task(actuators=motor('delay=".03" nsample="5"'))
    with pytest.raises(UnavailableError) as refused:
        make_physics(delayed, 1, "jax")
    line = str(refused.value)
    assert line.startswith(
        "--backend jax: allowed: native for Mine: MJX does not simulate delay of actuator 'shoulder'"
    )
    assert "--physics.unchecked" in line and "\n" not in line
    make_physics(delayed, 1, "jax", PhysicsConfig(unchecked=True))
    make_physics(delayed, 1, "native")


@pytest.mark.parametrize("integrator", ["implicit", "discrete"])
def test_what_mjx_refuses_itself_is_one_line(integrator: str) -> None:
    """One when it is given the model, the other when the step is traced."""

    def simulate() -> None:
        physics = make_physics(task(option=f'integrator="{integrator}"'), 1, "jax")
        physics.step(physics.init(0)[0], Controls(physics.xp.zeros((1, 2))))

    with pytest.raises(UnavailableError, match=r"^--backend jax: allowed: native for Mine: MJX says: .*(IMPLICIT|4)"):
        simulate()
