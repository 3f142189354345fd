"""A turn of Newton's method in few kernels: the exact minimum along a line, and MJX's own where there is none."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco.mjx._src import solver
from mujoco.mjx._src.types import ConeType

from mjxrl.physics import gpu_newton


def lines(count: int = 200, rows: int = 12) -> tuple[np.ndarray, ...]:
    """Slopes, curvatures, rows, their rates of change, weights; some rows do not change, some are at zero."""
    random = np.random.default_rng(0)
    x, dx = random.normal(size=(2, count, rows))
    dx[:, 0] = x[:, 1] = 0
    weight = 10.0 ** random.uniform(-2, 3, (count, rows))
    weight[:, 2] = 0
    numbers = random.normal(size=count), random.uniform(0.1, 2, count), x, dx, weight
    return tuple(x.astype(np.float32) for x in numbers)


def test_the_slope_is_zero_at_the_minimum_which_is_at_zero_if_nothing_descends() -> None:
    slope, curvature, x, dx, weight = (given.astype(float) for given in lines())
    found = np.asarray(jax.jit(jax.vmap(gpu_newton.least_along))(*lines()), float)

    def slopes(t: np.ndarray) -> np.ndarray:
        return slope + curvature * t + (weight * dx * np.minimum(x + t[:, None] * dx, 0)).sum(axis=1)

    descends = slopes(np.zeros(len(slope))) < 0
    assert 50 < descends.sum() < 150
    assert (found[~descends] == 0).all() and (found[descends] > 0).all()
    steepness = curvature + (weight * dx * dx).sum(axis=1)
    assert np.abs(slopes(found) / steepness)[descends].max() < 1e-5


def turn(
    rows: int = 5, equalities: int = 2, **model: object
) -> tuple[SimpleNamespace, SimpleNamespace, solver.Context]:
    """Model, data and context of a turn with two unknowns."""
    random = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    none = np.zeros(2, bool)
    impl = SimpleNamespace(**{"dof_hasfrictionloss": none, "tendon_hasfrictionloss": none} | model)
    option = SimpleNamespace(cone=model.get("cone", ConeType.PYRAMIDAL), disableflags=0)
    m = SimpleNamespace(_impl=impl, opt=option, nv=2)
    j, inertia = draw(rows, 2), jnp.array([[2.0, 0.5], [0.5, 1.0]])
    data = {"efc_J": j, "efc_D": jnp.abs(draw(rows)) + 1, "ne": equalities, "nefc": rows, "M": inertia}
    d = SimpleNamespace(_impl=SimpleNamespace(**data), qfrc_smooth=draw(2))
    qacc, search = draw(2), draw(2)
    of_turn = {"qacc": qacc, "search": search, "Ma": inertia @ qacc, "Jaref": j @ qacc - draw(rows)}
    rest = dict.fromkeys(solver.Context.__annotations__, 0.0)
    return m, d, solver.Context(**rest | of_turn)  # type: ignore[arg-type]


def test_a_turn_goes_to_the_minimum_with_equalities_active_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_newton.support, "mul_m", lambda m, d, x: d._impl.M @ x)
    m, d, ctx = turn()
    descent = jnp.sign(-cost(d, ctx, 0.0, jax.grad)) * ctx.search
    ctx = ctx.replace(search=descent)
    after = gpu_newton.line_search(m, d, ctx)
    t = (after.qacc - ctx.qacc)[0] / descent[0]
    assert t > 0.01 and abs(cost(d, ctx, t, jax.grad)) < 1e-4
    np.testing.assert_allclose(after.Ma, d._impl.M @ after.qacc, rtol=1e-5)
    np.testing.assert_allclose(after.Jaref - ctx.Jaref, d._impl.efc_J @ (after.qacc - ctx.qacc), rtol=1e-4)


def cost(d: SimpleNamespace, ctx: solver.Context, t: float, of=lambda f: f) -> jax.Array:
    """MuJoCo's cost without its constant at `t` along the search."""

    def at(t: jax.Array) -> jax.Array:
        qacc, row = ctx.qacc + t * ctx.search, ctx.Jaref + t * (d._impl.efc_J @ ctx.search)
        row = jnp.where(jnp.arange(len(row)) < d._impl.ne, row, jnp.minimum(row, 0))
        return qacc @ d._impl.M @ qacc / 2 - d.qfrc_smooth @ qacc + (d._impl.efc_D * row * row).sum() / 2

    return of(at)(t)


@pytest.mark.parametrize(
    "other", [{"cone": ConeType.ELLIPTIC}, {"dof_hasfrictionloss": np.array([False, True])}, {"rows": 257}]
)
def test_costs_of_another_form_are_left_to_mjx(other: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_newton, "_line_search", lambda m, d, ctx: "MJX's")
    assert gpu_newton.line_search(*turn(**other)) == "MJX's"  # type: ignore[arg-type]


def test_large_models_keep_the_librarys_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_newton, "_update_gradient", lambda m, d, ctx: "MJX's")
    m, d, ctx = turn()
    m.nv, m.opt.solver = 33, gpu_newton.SolverType.NEWTON
    assert gpu_newton.update_gradient(m, d, ctx) == "MJX's"
