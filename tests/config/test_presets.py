from __future__ import annotations

from functools import partial
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mjxrl.config.for_tasks import MANY_TRANSITIONS, QUICK_WITH_TD3, WITH_LAYER_NORM
from mjxrl.config.presets import default_config, merged
from mjxrl.config.rules import first_update, validate
from mjxrl.config.schema import Algorithm, Config, Preset
from mjxrl.envs import SUITE, task_class
from mjxrl.machine import devices
from mjxrl.machine.devices import Backend, Device

ALGORITHMS = get_args(Algorithm)

OURS = [backend for backend in get_args(Backend) if backend != "gymnasium"]
STEPPED_BY_GYMNASIUM = "gymnasium:Ant-v5", "gymnasium"
TASKS = ["Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5"]


@given(
    env_and_backend=st.tuples(st.sampled_from(TASKS), st.sampled_from(OURS)) | st.just(STEPPED_BY_GYMNASIUM),
    algo=st.sampled_from(ALGORITHMS),
    num_envs=st.none() | st.integers(1, 20_000),
    device=st.sampled_from(["cpu", "cuda"]),
    preset=st.sampled_from(get_args(Preset)),
    vector_steps=st.none() | st.integers(8, 10**6),
)
def test_every_preset_is_valid_and_learns_however_short_the_run(
    env_and_backend: tuple[str, Backend],
    algo: Algorithm,
    num_envs: int | None,
    device: Device,
    preset: Preset,
    vector_steps: int | None,
) -> None:
    env, backend = env_and_backend
    worlds = default_config(env, algo, num_envs, backend, device, preset).num_envs
    total_steps = vector_steps and vector_steps * worlds
    config = default_config(env, algo, num_envs, backend, device, preset, total_steps=total_steps)
    assert validate(config) == []
    assert total_steps is None or config.total_steps == total_steps
    assert config.preset != "auto" and preset in ("auto", config.preset)
    assert (config.env, config.algo, config.backend, config.device) == (env, algo, backend, device)


@pytest.mark.parametrize("num_envs", [1, 64, 4096])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_cpu_makes_one_update_per_transition_in_the_papers_form(algo: Algorithm, num_envs: int) -> None:
    config = default_config("Ant-v5", algo, num_envs, device="cpu", preset="paper")
    learner = config.learner
    assert learner.updates_per_step == config.num_envs == num_envs
    assert learner.policy_delay == {"td3": 2, "sac": 1}[algo]
    assert (learner.batch_size, learner.n_step, learner.gamma, learner.tau) == (256, 1, 0.99, 0.005)
    assert learner.warmup_steps == 10_000
    assert learner.actor_hidden == learner.critic_hidden == (256, 256)
    assert learner.critic_norm == "none" and learner.critic == "scalar" and learner.critic_activation == "relu"
    assert learner.actor_q == {"td3": "first", "sac": "min"}[algo]
    assert (learner.weight_decay, learner.lr_schedule, learner.bf16) == (0, "constant", False)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_laptop_is_few_worlds_narrow_networks_and_what_measurements_show_to_matter(algo: Algorithm) -> None:
    env = "Swimmer-v5"  # which has no row of its own
    laptop, paper = (default_config(env, algo, 8, device="cpu", preset=name) for name in ("laptop", "paper"))
    assert laptop == default_config(env, algo, device="cpu")  # nothing else said
    narrow = {"actor_hidden": (128, 128), "critic_hidden": (128, 128), "policy_average": 0.002, "compile": True}
    every = {name: {"every": steps} for name, steps in (("log", 5_000), ("eval", 10_000), ("checkpoint", 50_000))}
    like_the_paper = merged(paper, {"preset": "laptop", "learner": narrow, **every})
    learner = laptop.learner
    assert (learner.critic_norm, learner.critic, learner.scale_rewards) == ("batch", "categorical", True)
    assert (learner.hold_noise, learner.warmup_steps, learner.policy_delay) == (16, 1_000, 3)
    assert (laptop.sac.target_std, laptop.td3.exploration_noise) == (0.25, 0.3)
    row = {name: vars(getattr(like_the_paper, name)) for name in ("learner", "sac", "td3")}
    assert merged(laptop, row) == like_the_paper


@pytest.mark.parametrize(
    ("run", "capacity"),
    [
        ({"max_minutes": 10}, 20_000),
        ({"total_steps": 10_000}, 20_000),
        ({"total_steps": 500_000}, 50_000),
        ({}, 100_000),
        ({"total_steps": 50_000_000}, 1_000_000),
    ],
)
def test_td3_learns_from_the_newest_tenth_of_a_run_where_that_is_better(run: dict[str, Any], capacity: int) -> None:
    for env in ("HalfCheetah-v5", "gymnasium:HalfCheetah-v5"):
        assert default_config(env, "td3", device="cpu", **run).replay.capacity == capacity
    others: tuple[tuple[str, Algorithm, Preset], ...] = (
        ("HalfCheetah-v5", "sac", "laptop"),
        ("HalfCheetah-v5", "td3", "paper"),
        ("Humanoid-v5", "td3", "laptop"),
    )
    for env, algo, preset in others:
        assert default_config(env, algo, device="cpu", preset=preset, **run).replay.capacity == 1_000_000


def test_td3_begins_with_more_random_transitions_on_half_cheetah() -> None:
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 5_000),
        ({"max_minutes": 1}, 2_000),
        ({"total_steps": 10_000}, 1_000),
    )
    for run, warmup in cases:
        assert default_config("HalfCheetah-v5", "td3", device="cpu", **run).learner.warmup_steps == warmup


def test_of_every_task_of_the_suite_it_is_said_which_critics_td3_has() -> None:
    assert set(QUICK_WITH_TD3) == set(SUITE) - set(WITH_LAYER_NORM) - set(MANY_TRANSITIONS)


def test_a_task_may_have_a_row_of_its_own() -> None:
    humanoid, ant = (default_config(env, "td3", device="cuda", backend="jax") for env in ("Humanoid-v5", "Ant-v5"))
    assert (humanoid.learner.batch_size, ant.learner.batch_size) == (32_768, 16_384)
    assert (humanoid.learner.atoms, ant.learner.atoms) == (251, 101)
    assert humanoid.td3.exploration_noise_max == 0.4 and ant.td3.exploration_noise_max == 0.8
    push = default_config("FetchPush-v4", "sac", device="cpu", preset="laptop").learner
    assert (push.critic_norm, push.critic, push.gamma, push.updates_per_step) == ("layer", "scalar", 0.95, 2)
    walkers = [default_config("Walker2d-v5", algo, device="cpu").learner for algo in ("sac", "td3")]
    assert [(each.actor_norm, each.half_gradient) for each in walkers] == [("batch", False), ("none", True)]
    for env, norm in (("HalfCheetah-v5", "batch"), ("Pendulum-v1", "layer"), ("a_module:Robot", "layer")):
        assert default_config(env, "td3", device="cpu", preset="laptop").learner.critic_norm == norm


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_ant_gets_more_transitions_and_fewer_updates_on_a_cpu(algo: Algorithm) -> None:
    ant = default_config("Ant-v5", algo, device="cpu")
    assert (ant.preset, ant.num_envs, ant.learner.updates_per_step, ant.learner.batch_size) == ("laptop", 64, 4, 512)
    fast = default_config("Ant-v5", algo, device="cpu", preset="fast-2025").learner
    same = ("critic_norm", "tau", "n_step", "policy_delay", "actor_q", "atoms", "weight_decay", "normalize_obs")
    assert [getattr(ant.learner, name) for name in same] == [getattr(fast, name) for name in same]
    assert ant.learner.actor_hidden == (128, 128) and ant.learner.policy_average and not ant.learner.bf16
    assert ant.replay.capacity == 65_536
    for num_envs, updates in ((8, 1), (128, 8), (1, 1)):  # a sixteenth of an update per transition, one at least
        assert default_config("Ant-v5", algo, num_envs, device="cpu").learner.updates_per_step == updates
    assert default_config("gymnasium:Ant-v5", algo, device="cpu").num_envs == 8  # whose worlds are costly
    of_ten_minutes = default_config("Ant-v5", algo, device="cpu", max_minutes=10)
    assert of_ten_minutes.eval.every == 40_000 and of_ten_minutes.checkpoint.every == 100_000


def test_fast_updates_are_compiled_and_captured_on_a_gpu() -> None:
    for device in ("cpu", "cuda"):
        learner = default_config("Ant-v5", "sac", 4096, device=device, preset="fast").learner
        assert learner.compile == learner.graphs == (device == "cuda")


def test_fast_with_few_worlds_has_a_batch_that_they_can_fill() -> None:
    config = default_config("Humanoid-v5", "td3", 8, device="cpu", preset="fast-2025")
    assert config.learner.batch_size == config.learner.warmup_steps == 80


@pytest.mark.parametrize(
    ("backend", "device", "worlds"),
    [("auto", "cuda", 4096), ("jax", "cuda", 4096), ("native", "cuda", 64), ("auto", "cpu", 64), ("jax", "cpu", 64)],
)
def test_many_worlds_by_default_only_where_mjx_runs_on_a_gpu(backend: Backend, device: Device, worlds: int) -> None:
    assert default_config("Ant-v5", "sac", backend=backend, device=device).num_envs == worlds


def test_on_a_gpu_a_transition_is_sampled_as_often_with_any_number_of_worlds() -> None:
    for algo, samples in (("sac", 16.0), ("td3", 32.0)):
        for worlds in (64, 512, 1024, 4096, 16_384):
            config = default_config("Ant-v5", algo, worlds, device="cuda")  # type: ignore[arg-type]
            learner = config.learner
            assert config.preset == "fast-2025" and learner.batch_size >= 256
            assert learner.updates_per_step * learner.batch_size / worlds == samples
            assert learner.updates_per_step <= 8 and config.replay.capacity == 1024 * worlds
    assert default_config("Ant-v5", "sac", 7, device="cuda").preset == "paper"
    assert default_config("Ant-v5", "sac", 64, device="cuda").total_steps == 50_000_000 // 16


def test_the_preset_laptop_steps_natively_on_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    monkeypatch.setattr(devices.versions, "installed", lambda *names: "1")
    laptop = default_config("Ant-v5", "sac", preset="laptop")
    machine = laptop.machine()
    assert (laptop.backend, machine.device, machine.backend) == ("auto", "cuda", "native")
    assert machine.reason.startswith("few worlds ")  # not "as asked", which nobody did
    assert machine.described()["reason"] == machine.reason
    assert default_config("Ant-v5", "sac", preset="laptop", backend="jax").machine()[1:3] == ("jax", "as asked")
    assert default_config("Ant-v5", "sac").machine().backend == "jax"


def test_fast_of_2026_learns_from_old_transitions_with_blocks_and_a_quiet_start() -> None:
    sac, td3 = (default_config("Ant-v5", algo, device="cuda", preset="fast") for algo in ALGORITHMS[::-1])
    assert sac.replay.capacity == td3.replay.capacity == 10_000_000
    assert sac.learner.blocks and sac.learner.batch_size == 4096 and sac.num_envs == 4096
    assert (sac.sac.target_std, sac.sac.init_temperature, sac.learner.hold_noise) == (0.15, 0.01, 16)
    assert (td3.learner.hold_noise, td3.learner.n_step, td3.td3.exploration_noise_max) == (1, 3, 0.8)
    humanoid = default_config("Humanoid-v5", "td3", device="cuda", preset="fast")
    assert humanoid.td3.exploration_noise_max == 0.4 and humanoid.learner == td3.learner


def test_auto_asks_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: None)
    assert default_config("Ant-v5", "td3").num_envs == 4096
    monkeypatch.setattr(devices, "cuda_problem", lambda: "no GPU")
    assert default_config("Ant-v5", "td3").num_envs == 64 and default_config("Hopper-v5", "td3").num_envs == 8
    assert default_config("Ant-v5", "td3", preset="paper").num_envs == 64


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env", SUITE)
def test_twenty_thousand_transitions_are_enough_to_learn_from(env: str, algo: Algorithm, device: Device) -> None:
    limit = task_class(env)().max_episode_steps
    config = default_config(env, algo, device=device, total_steps=20_000, time_limit=limit)
    assert first_update(config) <= 8192 and validate(config) == []
    if device == "cpu":
        assert first_update(config) <= 2_000 and not config.learner.compile


def test_what_is_counted_in_transitions_follows_the_runs_length() -> None:
    def counted(config: Config) -> tuple[int, ...]:
        return config.learner.warmup_steps, config.log.every, config.eval.every, config.checkpoint.every

    of = partial(default_config, "Hopper-v5", "td3", device="cpu")
    assert counted(of()) == counted(of(total_steps=10**9)) == (1_000, 5_000, 10_000, 50_000)
    assert counted(of(total_steps=10_000)) == (1_000, 500, 1_000, 2_500)
    assert counted(of(max_minutes=2)) == counted(of(total_steps=40_000)) == (1_000, 2_000, 4_000, 10_000)
    assert counted(of(total_steps=4_000)) == (400, 200, 400, 1_000)
    paper = [counted(of(total_steps=steps, preset="paper"))[0] for steps in (10**9, 40_000)]
    assert paper == [10_000, 4_000]  # which begins with more random transitions
    assert counted(of(max_minutes=600, total_steps=10_000)) == counted(of(total_steps=10_000))
    assert counted(of(total_steps=10_000, preset="paper")) == (1_000, 500, 1_000, 2_500)


def test_warm_up_follows_the_tasks_episodes() -> None:
    def warmup(env: str, limit: int, preset: Preset = "paper") -> int:
        return default_config(env, "td3", device="cpu", preset=preset, time_limit=limit).learner.warmup_steps

    assert (warmup("Ant-v5", 1000), warmup("Pusher-v5", 100), warmup("Reacher-v5", 50)) == (10_000, 1_000, 1_000)
    assert warmup("Pendulum-v1", 200) == 2_000 and warmup("Pendulum-v1", 200, "laptop") == 1_000


def test_compiling_is_for_runs_that_are_long_enough() -> None:
    of = partial(default_config, "HalfCheetah-v5", "td3", device="cpu")
    assert [of(total_steps=steps).learner.compile for steps in (10_000, 30_000)] == [False, True]
    assert [of(max_minutes=minutes).learner.compile for minutes in (1, 2)] == [False, True]


def test_merged_reaches_into_nested_parts_and_refuses_names_that_do_not_exist() -> None:
    config = merged(Config(), {"seed": 3, "learner": {"gamma": 0.5}})
    assert (config.seed, config.learner.gamma, config.learner.tau) == (3, 0.5, Config().learner.tau)
    with pytest.raises(AttributeError):
        merged(Config(), {"lerner": {"gamma": 0.5}})
    with pytest.raises(TypeError):
        merged(Config(), {"gama": 0.5})
