"""What the float32 simulators share: how accurately they solve, and which fields follow from which."""

from __future__ import annotations

import copy
from typing import NamedTuple

import mujoco

from mjxrl.config import PhysicsConfig

# What a fresh qpos and qvel must be pushed through before a field can be read, cheapest first
POSITION = {"xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat"}
INERTIA = {"subtree_com", "cinert", "cdof"}
VELOCITY = {"cvel", "cdof_dot"}


class Solver(NamedTuple):
    """How accurately a step is computed."""

    integrator: mujoco.mjtIntegrator | None  # None: the XML's
    iterations: int
    ls_iterations: int


# `exact` is the least that gives the XML's own 100 and 50 iterations to float32 rounding on Gymnasium's tasks
SOLVERS = {
    "exact": Solver(None, 8, 8),
    "fast": Solver(mujoco.mjtIntegrator.mjINT_EULER, 4, 4),
}


def with_solver(model: mujoco.MjModel, config: PhysicsConfig) -> mujoco.MjModel:
    """A copy of the model with the solver and the integrator that `config` asks for."""
    solver, model = SOLVERS[config.accuracy], copy.copy(model)
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    model.opt.iterations = config.iterations or solver.iterations
    model.opt.ls_iterations = config.ls_iterations or solver.ls_iterations
    if solver.integrator is not None:
        model.opt.integrator = solver.integrator
    return model


def cap_in_xml(model: mujoco.MjModel) -> int | None:
    """The XML's own custom numeric `max_contact_points`, if it has one."""
    named = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, "max_contact_points")
    return int(model.numeric_data[model.numeric_adr[named]]) if named >= 0 else None
