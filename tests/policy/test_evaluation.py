"""Scores: whole episodes, the same on our native worlds and in Gymnasium, and through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
import torch

from mjxrl.envs import task_class
from mjxrl.envs.ant import Ant
from mjxrl.policy.evaluation import EvalResult, evaluate_backend, evaluate_gymnasium, gymnasium_keywords, random_policy
from mjxrl.worlds.vector_env import VectorEnv

CPU = torch.device("cpu")


def still(env: VectorEnv):
    return lambda obs: torch.zeros(len(obs), env.action_size)


def test_episodes_on_a_backend_are_whole() -> None:
    env = VectorEnv(task_class("HalfCheetah-v5")(), 3, backend="native", device=CPU)
    result = evaluate_backend(still(env), env)
    assert result.lengths == [1000] * 3
    ant = VectorEnv(task_class("Ant-v5")(), 8, backend="native", device=CPU)
    result = evaluate_backend(random_policy(8, 0, CPU), ant)
    assert len(set(result.lengths)) > 1 and min(result.lengths) < 1000  # random Ants fall at different times
    assert result.std_return > 0


def test_native_scores_as_gymnasium_does() -> None:
    """The same start and a policy that reads the observation: the same episode to its end, chaotic as it is."""
    task = task_class("HalfCheetah-v5")()
    mixing = torch.linspace(-1, 1, 17 * 6).reshape(17, 6)

    def policy(obs: torch.Tensor) -> torch.Tensor:
        return (obs @ mixing).sin()

    scored = evaluate_gymnasium(policy, task, 1, seed=3, device=CPU)
    reference = gymnasium.make("HalfCheetah-v5")
    reference.reset(seed=3)
    data = reference.unwrapped.data  # type: ignore[attr-defined]
    qpos, qvel = (torch.as_tensor(x)[None] for x in (data.qpos.copy(), data.qvel.copy()))
    env = VectorEnv(task, 1, backend="native", device=CPU)
    env.reset = lambda: env.set_state(qpos, qvel)  # type: ignore[method-assign]
    ours = evaluate_backend(policy, env)
    assert ours.lengths == scored.lengths == [1000]
    assert ours.mean_return == pytest.approx(scored.mean_return, abs=1e-3)


def test_statistics() -> None:
    result = EvalResult([1.0, 3.0], [10, 20])
    assert result.mean_return == 2.0 and result.std_return == 1.0


def test_keywords_that_differ_reach_gymnasium() -> None:
    task = Ant(include_cfrc_ext_in_observation=False, ctrl_cost_weight=0.1)
    assert gymnasium_keywords(task) == {"include_cfrc_ext_in_observation": False, "ctrl_cost_weight": 0.1}
    result = evaluate_gymnasium(lambda obs: torch.zeros(1, 8) * obs[0, 26], task, 1, 0, CPU)
    assert len(result.returns) == 1


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the installed command, started from an empty folder."""
    folder = tmp_path_factory.mktemp("start")
    done = command(
        "train", folder, "--env", "HalfCheetah-v5", "--algo", "td3", "--num-envs", "4", "--total-steps", "80"
    )
    assert done.returncode == 0, done.stderr
    assert "mean return in Gymnasium over 10 episodes, trained policy:" in done.stdout
    assert "random policy" in done.stdout and "tensorboard" in done.stdout
    assert [p.name for p in folder.iterdir()] == ["runs"]
    (run,) = (folder / "runs").iterdir()
    assert run.name.startswith("HalfCheetah-v5-td3-")
    return run


def command(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX")}
    return subprocess.run(
        [sys.executable, str(script), *words], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )


def test_evaluate_reads_a_run(finished_run: Path, tmp_path: Path) -> None:
    done = command("evaluate", tmp_path, str(finished_run), "--episodes", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["lengths"] == [1000, 1000] and len(report["returns"]) == 2
    assert report["mean_return"] == pytest.approx(sum(report["returns"]) / 2)
    assert report["std_return"] >= 0
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_be_evaluated_is_refused_in_one_line(finished_run: Path, tmp_path: Path) -> None:
    missing = command("evaluate", tmp_path, str(finished_run), "--checkpoint", "step_7")
    nowhere = command("evaluate", tmp_path, "nowhere")
    for done in (missing, nowhere):
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    other = command("train", tmp_path, "--env", "Ant-v5", "--algo", "td3", "--init-from", str(finished_run))
    assert other.returncode == 2 and "Ant-v5" in other.stderr and len(other.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
