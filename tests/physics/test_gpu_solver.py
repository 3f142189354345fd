"""MJX as it is traced for a GPU: the same numbers as MJX's own, without library calls and small loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from mujoco.mjx._src import solver

from mjxrl.physics import gpu_solver
from mjxrl.physics.jax_arrays import JaxArrays
from tests.helpers.programs import HASTY

LIBRARY = ("potrf", "cholesky", "trsm", "triangular_solve")  # names in a program before it is compiled


def test_larger_systems_stay_with_the_library() -> None:
    a, b = 4 * jnp.eye(33), jnp.arange(33.0)
    factor = gpu_solver._cho_factor(a)
    assert factor[0][0, 0] == 2
    np.testing.assert_allclose(gpu_solver._cho_solve(factor, b), b / 4)


def test_loops_end_in_each_world_where_mjx_and_jax_end_them() -> None:
    start, turns = jnp.array([1.0, 9.0, 1e4, 0.1]), 5

    def going(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (state[0] > 1) & (state[1] < turns)

    def turn(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return state[0] / 2, state[1] + 1

    def ends(loop, *more: int) -> tuple[list[float], list[int]]:
        x, count = jax.vmap(lambda x: loop(going, turn, (x, 0), *more))(start)
        return x.tolist(), count.tolist()

    expected = ([1.0, 0.5625, 312.5, pytest.approx(0.1)], [0, 4, 5, 0])
    assert ends(gpu_solver.unrolled, turns) == ends(solver._while_loop_scan, turns) == expected
    assert ends(gpu_solver.while_loop) == expected


def stepper(integrator: str):
    """One step of a double pendulum whose tip meets the floor, with a servo and damping: all factors are needed."""
    m = mujoco.MjModel.from_xml_string(f"""
      <mujoco><option integrator="{integrator}" timestep=".01" iterations="4" ls_iterations="3"/><worldbody>
        <geom type="plane" size="5 5 1"/>
        <body pos="0 0 .55"><joint axis="0 1 0" damping=".1"/><geom type="sphere" size=".05" pos=".3 0 0"/>
          <body pos=".3 0 0"><joint name="elbow" axis="0 1 0" damping=".2"/>
            <geom type="sphere" size=".06" pos=".3 0 0"/></body></body>
      </worldbody><actuator><velocity joint="elbow" kv="1"/></actuator></mujoco>""")
    put = mjx.put_model(m, impl="jax")

    def step(qpos: jax.Array, qvel: jax.Array) -> jax.Array:
        data = mjx.make_data(m, impl="jax").replace(qpos=qpos, qvel=qvel, ctrl=jnp.ones(m.nu))
        return mjx.step(put, data).qvel

    return jax.jit(jax.vmap(step))


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast"])
def test_a_step_calls_no_library_and_has_newtons_loop_only(integrator: str) -> None:
    random = np.random.default_rng(0)
    qpos = jnp.asarray(random.uniform([0.5, -1.0], [1.3, 1.0], (32, 2)), jnp.float32)
    qvel = jnp.asarray(random.normal(size=(32, 2)), jnp.float32)
    with gpu_solver.patched():
        ours = stepper(integrator).lower(qpos, qvel)
    stock = stepper(integrator).lower(qpos, qvel)  # the patch ends with its context, and is still needed
    programs = [program.as_text() for program in (stock, ours)]
    assert [any(name in text for name in LIBRARY) for text in programs] == [True, False]
    assert [text.count("stablehlo.while") for text in programs] == [2, 1]
    if integrator == "Euler":
        expected, found = (program.compile(compiler_options=HASTY)(qpos, qvel) for program in (stock, ours))
        assert np.abs(expected - qvel).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_only_on_a_gpu_and_only_in_the_version_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gpu_solver.wanted()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert gpu_solver.wanted()
    monkeypatch.setattr(gpu_solver, "version", lambda _: "3.18.0")
    assert not gpu_solver.wanted()


def test_many_worlds_on_a_gpu_restart_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(num_envs: int) -> bool:
        arrays = JaxArrays()
        arrays.num_envs = num_envs
        return float(arrays.when(jnp.array(False), lambda x: x + 1, jnp.array(0.0))) == 0

    assert asked(4096)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert asked(255) and not asked(256)
