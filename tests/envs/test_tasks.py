"""Keywords as in Gymnasium's constructors, values that are refused, functions that mean the same on numpy and jax."""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from mjxrl.envs import SUITE, task_class
from mjxrl.envs.hopper import Hopper
from mjxrl.envs.pendulum import Pendulum
from mjxrl.envs.task import Reset, View, gymnasium_assets
from mjxrl.errors import TaskError
from mjxrl.physics.analytic import AnalyticState, NumpyAnalyticPhysics
from mjxrl.physics.analytic_jax import JaxAnalyticPhysics
from mjxrl.worlds.vector_env import VectorEnv, make_vec

RENDERING = {"default_camera_config", "render_mode"}


def gymnasium_class(env_id: str) -> type:
    module, _, name = str(gymnasium.spec(env_id).entry_point).partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("env_id", SUITE)
def test_keywords_and_defaults_are_gymnasiums(env_id: str) -> None:
    parameters = inspect.signature(gymnasium_class(env_id)).parameters.values()
    theirs = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in RENDERING}
    ours = {p.name: p.default for p in inspect.signature(task_class(env_id)).parameters.values()}
    assert ours == {**theirs, "max_episode_steps": gymnasium.spec(env_id).max_episode_steps}  # of gymnasium.make
    assert task_class(env_id).gymnasium_id == env_id
    assert not gymnasium.spec(env_id).kwargs


@pytest.mark.parametrize("env_id", SUITE)
def test_rendering_keywords_are_refused_with_the_reason(env_id: str) -> None:
    """All that Gymnasium takes beside ours: the constructor's own, and those it hands on to MujocoEnv."""
    from gymnasium.envs.mujoco import MujocoEnv

    handed_on = {name for name in inspect.signature(MujocoEnv).parameters if name not in ("model_path", "frame_skip")}
    for name in (RENDERING | handed_on) - {"observation_space"}:
        keywords: dict[str, Any] = {name: None}
        with pytest.raises(TypeError, match=rf"{task_class(env_id).__name__}: {name} is for rendering"):
            make_vec(env_id, 1, backend="native", device="cpu", **keywords)


@pytest.mark.parametrize(
    ("env_id", "keywords", "kind", "message"),
    [
        ("Hopper-v5", {"healthy_reward": "1"}, TypeError, "healthy_reward must be float, not '1'"),
        ("Hopper-v5", {"healthy_reward": True}, TypeError, "healthy_reward must be float, not True"),
        ("Hopper-v5", {"terminate_when_unhealthy": 0}, TypeError, "terminate_when_unhealthy must be bool, not 0"),
        ("Hopper-v5", {"healthy_z_range": 0.7}, TypeError, r"healthy_z_range must be tuple\[float, float\], not 0.7"),
        ("Hopper-v5", {"healthy_z_range": (0.7,)}, TypeError, r"healthy_z_range must be tuple\[float, float\]"),
        ("Hopper-v5", {"frame_skip": 2.0}, TypeError, "frame_skip must be int, not 2.0"),
        ("Hopper-v5", {"frame_skip": 0}, ValueError, "frame_skip must be 1 or more, not 0"),
        ("Hopper-v5", {"xml_file": "no_such.xml"}, TaskError, r"xml_file 'no_such.xml': no such MJCF file"),
        ("Hopper-v5", {"xml_file": None}, TypeError, "xml_file must be str, not None"),
        ("Hopper-v5", {"healthy_rewards": 1.0}, TypeError, "no keyword healthy_rewards .did you mean healthy_reward"),
        ("Ant-v5", {"main_body": 1.5}, TypeError, r"main_body must be int \| str, not 1.5"),
        ("Pendulum-v1", {"frame_skip": 2}, TypeError, "no keyword frame_skip: allowed are max_episode_steps, g"),
        ("Hopper-v5", {"max_episode_steps": 0}, ValueError, "max_episode_steps must be 1 or more, not 0"),
        ("Hopper-v5", {"max_episode_steps": 1.5}, TypeError, "max_episode_steps must be int, not 1.5"),
    ],
)
def test_wrong_values_are_refused_by_name(
    env_id: str, keywords: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make_vec(env_id, 1, backend="native", device="cpu", **keywords)


def test_whole_numbers_lists_and_numpy_scalars_are_numbers_too() -> None:
    numbers = {
        "healthy_reward": 1,
        "healthy_z_range": [0, 2],
        "frame_skip": np.int64(2),
        "ctrl_cost_weight": np.float32(1),
    }
    Hopper(**numbers)


def test_xml_file_means_what_it_means_in_gymnasium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that starts with . / or ~ is the user's; anything else is in Gymnasium's assets."""
    kind, own = task_class("Swimmer-v5"), tmp_path / "swimmer.xml"
    shutil.copy(gymnasium_assets() / "swimmer.xml", own)
    own.write_text(own.read_text().replace('timestep="0.01"', 'timestep="0.02"'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for xml_file in ("./swimmer.xml", str(own), "~/swimmer.xml", "swimmer.xml"):
        env: Any = gymnasium.make("Swimmer-v5", xml_file=xml_file).unwrapped
        assert kind(xml_file=xml_file).dt == env.dt == (0.04 if xml_file == "swimmer.xml" else 0.08)


@pytest.mark.parametrize("env_id", SUITE)
def test_numpy_and_jitted_jax_agree(env_id: str) -> None:
    import jax
    import jax.numpy as jnp

    task = task_class(env_id)()
    env = VectorEnv(task, 8, backend="native", device=torch.device("cpu"))
    env.reset()
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(12, 8, env.action_size, generator=generator) * 2 - 1
    for action in actions[:-1]:
        env.step(action)
    before = env.state.view
    env.step(actions[-1])
    after, ctrl = env.state.view, actions[-1].double().numpy()
    random = np.random.default_rng(0)
    noise = {name: random.uniform(-1, 1, (8, size)) for name, (_, size) in task.reset_noise().items()}

    def functions(xp: Any, before: View, after: View, ctrl: Any, noise: Any) -> dict[str, Any]:
        first = task.reset(xp, noise)
        return {
            "observation": task.observation(xp, after),
            "terminated": task.terminated(xp, after),
            "qpos": first.qpos,
            "qvel": first.qvel,
            **task.reward(xp, before, after, ctrl),
        }

    on_numpy = functions(np, before, after, ctrl, noise)
    on_jax = jax.jit(lambda *arguments: functions(jnp, *arguments))(before, after, ctrl, noise)
    for name, expected in on_numpy.items():
        assert on_jax[name].dtype == (bool if expected.dtype == bool else jnp.float32)
        # velocities are differences of float32 positions over dt: an ulp of the position is much in a velocity
        np.testing.assert_allclose(on_jax[name], expected, rtol=2e-5, atol=1e-4, err_msg=name)


class TestAnalytic:
    def test_jax_equals_native(self) -> None:
        generator = torch.Generator().manual_seed(0)
        envs = [make_vec("Pendulum-v1", 16, backend=backend, device="cpu") for backend in ("native", "jax")]
        qpos, qvel = torch.rand(16, 1, generator=generator) * 6 - 3, torch.rand(16, 1, generator=generator) * 2 - 1
        first = [env.set_state(qpos, qvel) for env in envs]
        torch.testing.assert_close(*first)
        for step in range(1, 202):
            action = torch.rand(16, 1, generator=generator) * 2 - 1
            native, jax = (env.step(action) for env in envs)
            assert native.truncated.all() == jax.truncated.all() == (step == 200)
            if step <= 20:  # an unstable system: rounding grows
                torch.testing.assert_close(jax.final_obs, native.final_obs, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(jax.reward, native.reward, rtol=1e-4, atol=1e-3)

    def test_resets_on_jax_are_fresh_and_follow_the_seed(self) -> None:
        env = make_vec("Pendulum-v1", 64, backend="jax", device="cpu")
        draws = [env.reset(), env.reset(), env.reset(seed=5), env.reset(seed=5)]
        assert len(torch.unique(torch.cat(draws[:3]), dim=0)) == 3 * 64
        assert torch.equal(draws[2], draws[3])

    @pytest.mark.parametrize("backend", ["native", "jax"])
    def test_a_diverged_world_is_quarantined(self, backend: str) -> None:
        env = make_vec("Pendulum-v1", 4, backend=backend, device="cpu")
        qvel = torch.zeros(4, 1)
        qvel[2] = torch.nan
        env.set_state(torch.zeros(4, 1), qvel)
        result = env.step(torch.zeros(4, 1))
        assert result.valid.tolist() == result.terminated.logical_not().tolist() == [True, True, False, True]
        assert torch.isfinite(result.obs).all() and torch.isfinite(result.reward).all()

    @pytest.mark.parametrize("kind", [NumpyAnalyticPhysics, JaxAnalyticPhysics])
    def test_physics_restarts_the_masked_worlds_only(self, kind: Any) -> None:
        physics = kind(Pendulum(), 3)
        state, _ = physics.init(0)
        ones, mask = physics.xp.ones((3, 1)), physics.xp.asarray([True, False, True])
        state = physics.set_where(state, mask, Reset(*(physics.picked(mask, x) for x in (ones, 2 * ones))))
        view = physics.view(state)
        assert view["qpos"].tolist() == [[1], [0], [1]]
        assert view["qvel"].tolist() == [[2], [0], [2]]

    @pytest.mark.parametrize("kind", [NumpyAnalyticPhysics, JaxAnalyticPhysics])
    def test_physics_calls_huge_states_diverged(self, kind: Any) -> None:
        physics = kind(Pendulum(), 3)
        values = physics.xp.asarray([[0.0], [1e11], [np.nan]])
        zeros = physics.xp.zeros((3, 1))
        assert physics.diverged(AnalyticState(values, zeros)).tolist() == [False, True, True]
        assert physics.diverged(AnalyticState(zeros, values)).tolist() == [False, True, True]

    def test_fields_beyond_the_state_are_refused(self) -> None:
        reads_xpos = type("ReadsXpos", (Pendulum,), {"fields": ("qpos", "xpos")})
        with pytest.raises(ValueError, match="ReadsXpos has its own dynamics: its fields are qpos and qvel, not xpos"):
            VectorEnv(reads_xpos(), 1, backend="native", device=torch.device("cpu"))
