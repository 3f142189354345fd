"""An exported policy is the trained one, runs without a simulator, and anything wrong with its files is one line."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mjxrl
from mjxrl.cli.export import parse_options
from mjxrl.errors import PolicyError
from mjxrl.learners import make_learner
from mjxrl.policy.export import export_run, write_onnx
from mjxrl.policy.policy import Policy, PolicyInfo, load_policy
from mjxrl.storage import checkpoint
from mjxrl.storage.run_dir import load_config
from tests.helpers.small_runs import small, train

RUN_ALONE = """
import sys
import numpy as np
import mjxrl

policy = mjxrl.load_policy(sys.argv[1])
print(policy(np.load(sys.argv[2])).tolist())
print([name for name in ("jax", "jaxlib", "mujoco") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that averages the actor's weights, so that its last ones are not the policy, and has BatchNorm in it."""
    path = tmp_path_factory.mktemp("policy") / "run"
    learner = {"normalize_obs": True, "policy_average": 0.1, "actor_norm": "batch"}
    return train(small("sac", run_dir=path, learner=learner, eval={"final_episodes": 0}))


def observations(n: int, size: int = 17) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (n, size)).astype(np.float32)


def test_it_acts_as_the_learner_does_and_needs_no_simulator(run: Path, tmp_path: Path) -> None:
    learner = make_learner(load_config(run), 17, 6, "cpu")
    learner.load_state_dict(checkpoint.load(run, "latest", "learner", {}))
    files = export_run(run, out=tmp_path / "out")
    assert {file.name for file in files} == {file.name for file in (tmp_path / "out").iterdir()}
    obs = observations(5)
    actions = mjxrl.load_policy(tmp_path / "out")(obs)
    assert np.array_equal(actions, learner.act_deterministic(torch.from_numpy(obs)).numpy())
    np.save(tmp_path / "obs.npy", obs)
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALONE, str(tmp_path / "out" / "policy.json"), str(tmp_path / "obs.npy")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers, imported = done.stdout.splitlines()
    assert np.allclose(json.loads(numbers), actions, atol=1e-6) and imported == "[]"


def test_checkpoints_to_choose_from(run: Path, tmp_path: Path) -> None:
    (default, _), (best, _) = export_run(run), export_run(run, which="best", out=tmp_path)
    assert default == run / "policy" / "policy.safetensors"
    assert load_policy(default).info.step == 640 and load_policy(best).info.step in (320, 640)
    assert load_policy(default).info.control_low == (-1.0,) * 6


def a_policy(algo: str, normalize: bool, folder: Path, *, scale: float = 1.0, **learner: Any) -> Policy:
    """An untrained one with odd statistics and a lopsided control range."""
    config = small(algo, learner={"normalize_obs": normalize, "actor_hidden": (32, 16), **learner})
    made = make_learner(config, 17, 6, "cpu")
    for frames in torch.from_numpy(observations(300)).split(100):
        made.start(5 + 40 * frames)
    if made.algorithm.actor.statistics is not None:
        made.algorithm.actor.statistics.uniform_(0.5, 40, generator=torch.Generator().manual_seed(0))
    low, high = (0.0,) * 5 + (-1.0,), (scale,) * 5 + (3.0,)
    info = PolicyInfo("HalfCheetah-v5", algo, 1, low, high, made.algorithm.actor.spec)
    Policy(info, made.state_dict()).save(folder)
    return load_policy(folder)


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize("normalize", [False, True])
def test_onnx_gives_the_same_actions(algo: str, normalize: bool, tmp_path: Path) -> None:
    """With residual blocks for one of them, with BatchNorm for another."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX is missing: pip install 'mjxrl[onnx]'")
    blocks: dict[str, Any] = {"blocks": True, "actor_hidden": (16, 16)} if algo == "sac" and normalize else {}
    normed: dict[str, Any] = {"actor_norm": "batch"} if algo == "td3" and not normalize else {}
    policy = a_policy(algo, normalize, tmp_path, **blocks, **normed)
    write_onnx(policy, tmp_path / "policy.onnx")
    session = runtime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["obs"] and [o.name for o in session.get_outputs()] == ["action"]
    for n in (1, 2, 77):
        obs = 5 + 40 * observations(n)
        [actions] = session.run(["action"], {"obs": obs})
        assert actions.shape == (n, 6) and np.abs(actions - policy(obs)).max() < 1e-5
    assert actions.std() > 0.01


def test_statistics_are_inside(tmp_path: Path) -> None:
    with_statistics, without = (a_policy("td3", normalize, tmp_path / str(normalize)) for normalize in (True, False))
    obs = 5 + 40 * observations(3)
    assert not np.allclose(with_statistics(obs), without(obs), atol=1e-2)


def test_one_or_many_numpy_or_torch_scaled_or_not(tmp_path: Path) -> None:
    policy, obs = a_policy("sac", True, tmp_path, scale=2.0), observations(4)
    many = policy(obs)
    assert many.shape == (4, 6) and many.dtype == np.float32 and np.abs(many).max() <= 1
    assert np.allclose(policy(obs[2]), many[2], atol=1e-6) and policy(obs[2]).shape == (6,)
    tensors = policy(torch.from_numpy(obs).double())
    assert isinstance(tensors, torch.Tensor) and np.array_equal(tensors.numpy(), many)
    scaled = policy(obs, scaled=True)
    assert np.allclose(scaled[:, :5], many[:, :5] + 1, atol=1e-6) and np.allclose(scaled[:, 5], 1 + 2 * many[:, 5])
    with pytest.raises(ValueError, match=r"HalfCheetah-v5 have shape \(17,\) or \(N, 17\), got \(4, 16\)"):
        policy(obs[:, 1:])


@pytest.mark.parametrize(
    "damage",
    ["truncate", "flip", "remove", "pickle", "json", "no json", "format", "algo", "width", "network", "activation"],
)
def test_damage_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    a_policy("td3", True, tmp_path)
    tensors, info = tmp_path / "policy.safetensors", tmp_path / "policy.json"
    data, content = tensors.read_bytes(), json.loads(info.read_text())
    match damage:
        case "truncate":
            tensors.write_bytes(data[:-1])
        case "flip":
            tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "remove":
            tensors.unlink()
        case "pickle":
            tensors.write_bytes(pickle.dumps({"x": 1}))
        case "json":
            info.write_text("{")
        case "no json":
            info.unlink()
        case "format":
            info.write_text(json.dumps({**content, "format": 9}))
        case "algo":
            info.write_text(json.dumps({**content, "algo": "ppo"}))
        case "network":
            info.write_text(json.dumps({**content, "network": {**content["network"], "hidden": [32, 17]}}))
        case "activation":
            info.write_text(json.dumps({**content, "network": {**content["network"], "activation": "of 2027"}}))
        case "width":
            info.write_text(json.dumps({**content, "control_low": [0.0], "control_high": [1.0]}))
    with pytest.raises(PolicyError) as error:
        load_policy(tmp_path)
    assert "\n" not in str(error.value)
    assert damage != "format" or str(error.value).endswith("has format 9: allowed: 1 to 4")


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_files_that_do_not_say_what_the_network_is_still_load(algo: str, tmp_path: Path) -> None:
    """Format 1, as before networks were described."""
    policy, info = a_policy(algo, True, tmp_path), tmp_path / "policy.json"
    content = json.loads(info.read_text())
    network = content.pop("network")
    assert network | {"hidden": (32, 16)} == dataclasses.asdict(policy.info.network)
    info.write_text(json.dumps({**content, "format": 1}))
    old = load_policy(tmp_path)
    assert old.info == policy.info and np.array_equal(old(observations(5)), policy(observations(5)))


def test_files_of_before_other_norms_still_load(tmp_path: Path) -> None:
    """Format 2, which said of every network whether it has LayerNorm."""
    policy, info = a_policy("td3", True, tmp_path), tmp_path / "policy.json"
    content = json.loads(info.read_text())
    network = {name: content["network"][name] for name in ("inputs", "hidden", "outputs", "members", "activation")}
    info.write_text(json.dumps({**content, "format": 2, "network": {**network, "layer_norm": False}}))
    assert load_policy(tmp_path).info == policy.info


def test_command_line(run: Path, tmp_path: Path) -> None:
    options = parse_options([str(run), "--checkpoint", "best", "--out", "x", "--onnx"])
    assert (options.run_dir, options.checkpoint, options.out, options.onnx) == (run, "best", Path("x"), True)
    root, out = Path(__file__).parents[2], str(tmp_path / "out")
    for words, status in (([str(run), "--out", out], 0), ([str(run), "--checkpoint", "step_7"], 2), (["none"], 2)):
        done = subprocess.run([sys.executable, "scripts/export.py", *words], cwd=root, capture_output=True, text=True)
        assert done.returncode == status and "Traceback" not in done.stderr
        lines = (done.stderr if status else done.stdout).splitlines()
        assert len(lines) == (1 if status else 2), lines
