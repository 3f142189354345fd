"""Networks of residual blocks equal a NumPy oracle, in value and gradient, as actors and as critics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mjxrl.config import Config, LearnerConfig
from mjxrl.config.rules import validate
from mjxrl.networks.mlp import actor_outputs, critic_outputs
from mjxrl.networks.spec import NetworkSpec
from tests.helpers.oracles import ACTION, OBS, assert_gradient, make_network, numeric_gradient

X = np.random.default_rng(1).normal(size=(5, OBS + ACTION))


def oracle(p: dict[str, np.ndarray], member: int, x: np.ndarray) -> np.ndarray:
    def linear(i: int, x: np.ndarray) -> np.ndarray:
        return x @ p[f"{i}.weight"][member] + p[f"{i}.bias"][member]

    def rms(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    x = linear(0, x)
    for i in (1, 3):
        h = linear(i, rms(x))
        if f"{i}.gain" in p:
            h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
            h = h * p[f"{i}.gain"][member] + p[f"{i}.shift"][member]
        x = x + linear(i + 1, np.maximum(h, 0))
    return linear(5, rms(x))


@pytest.mark.parametrize(("members", "norm", "outputs"), [(2, "layer", 1), (1, "none", 3)])
def test_critics(members: int, norm: str, outputs: int) -> None:
    critics, p = make_network((OBS + ACTION, 4, 4, outputs), 1, members=members, norm=norm, blocks=True)
    x = torch.tensor(X)
    said = critic_outputs(critics.layers, x[:, :OBS], x[:, OBS:])
    for e in range(members):
        np.testing.assert_allclose(said[e].detach(), oracle(p, e, X), rtol=1e-9)
    wanted = numeric_gradient(lambda: sum((oracle(p, e, X) ** 2).sum() for e in range(members)), p)
    assert_gradient(said.square().sum(), critics, wanted)
    action = x[:, OBS:].clone().requires_grad_()  # computed in two parts
    torch.testing.assert_close(critic_outputs(critics.layers, x[:, :OBS], action), said)


def test_an_actor() -> None:
    actor, p = make_network((OBS, 4, 4, ACTION), 2, blocks=True)
    said = actor_outputs(actor.layers, torch.tensor(X[:, :OBS]))
    np.testing.assert_allclose(said.detach(), oracle(p, 0, X[:, :OBS]), rtol=1e-9)
    assert_gradient(said.square().sum(), actor, numeric_gradient(lambda: (oracle(p, 0, X[:, :OBS]) ** 2).sum(), p))


def test_counts_by_hand() -> None:
    spec = NetworkSpec(3, (4, 4), 2, members=2, norm="layer", blocks=True)
    assert spec.products == [(3, 4), (4, 16), (16, 4), (4, 16), (16, 4), (4, 2)]
    block = 4 * 16 + 16 + 2 * 16 + 16 * 4 + 4
    assert spec.parameters == 2 * (3 * 4 + 4 + 2 * block + 4 * 2 + 2) and spec.units == 2 * (3 + 4 + 2 * 20 + 2)


@pytest.mark.parametrize("keywords", [{"hidden": (4, 5)}, {"hidden": (4, 4), "norm": "batch"}])
def test_what_blocks_cannot_be_is_refused(keywords: dict) -> None:
    with pytest.raises(ValueError, match="one width, and no BatchNorm"):
        NetworkSpec(inputs=3, outputs=1, blocks=True, **keywords)
    name = "norm" if "norm" in keywords else "hidden"
    learner = LearnerConfig(blocks=True, **{f"critic_{key}": value for key, value in keywords.items()})
    [line] = validate(Config(learner=learner))
    assert line.startswith(f"--learner.critic-{name} ") and line.endswith("with --learner.blocks")
    [line] = validate(Config(learner=LearnerConfig(blocks=True, actor_norm="batch")))
    assert line == "--learner.actor-norm batch: allowed: none, with --learner.blocks"
