"""The checks pass on the code as it is, and each fails where its promise is broken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mjxrl.checks import promises
from mjxrl.cli import verify as cli
from mjxrl.learners.updates import Updates
from mjxrl.learners.values import Scalar
from mjxrl.networks.parameters import Network


def test_all_pass_and_the_exit_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mjxrl-verify"])
    assert cli.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(promises.CHECKS) + 1 and lines[-1].startswith("all promises kept")
    for line in lines[:-1]:
        assert line.startswith("PASS") or (line.startswith("SKIP") and "Stable-Baselines3" in line)
    assert ("1 not checked" in lines[-1]) == any(line.startswith("SKIP") for line in lines)


def wrong_sample(gaussian: Any, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Forgets the change of variables."""
    u = gaussian.mean + gaussian.log_std.exp() * noise
    return u.tanh(), torch.distributions.Normal(gaussian.mean, gaussian.log_std.exp()).log_prob(u).sum(-1)


def naive_sample(gaussian: Any, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Right on paper, infinite where tanh rounds to 1."""
    action, log_prob = wrong_sample(gaussian, noise)
    return action, log_prob - torch.log(1 - action.square()).sum(-1)


def large_start(*args: Any, **keywords: Any) -> Any:
    learner = ORIGINAL(*args, **keywords)
    learner.algorithm.critics.flat.normal_()
    learner.algorithm.actor.flat.mul_(3)
    return learner


def undelayed(self: Updates, batch: Any, noise: Any, *, policy_due: bool) -> Any:
    return UPDATE(self, batch, noise, policy_due=True)


ORIGINAL, UPDATE = promises.learner_of, Updates.update
BREAKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "initial Q near zero": lambda m: m.setattr(promises, "learner_of", large_start),
    "actions bounded": lambda m: m.setattr("mjxrl.learners.td3.policy", lambda *_: torch.full((1000, 3), 1.5)),
    "log-probabilities finite": lambda m: m.setattr(promises, "squashed_sample", naive_sample),
    "tanh change of variables": lambda m: m.setattr(promises, "squashed_sample", wrong_sample),
    "density integrates to 1": lambda m: m.setattr(promises, "squashed_sample", wrong_sample),
    "entropy identity": lambda m: m.setattr(promises, "squashed_sample", wrong_sample),
    "log pi as torch.distributions": lambda m: m.setattr(promises, "squashed_sample", wrong_sample),
    "temperature moves the right way": lambda m: m.setattr(
        "mjxrl.learners.sac.temperature_loss", lambda log_alpha, *_: -log_alpha.sum()
    ),
    "delayed policy updates": lambda m: m.setattr(Updates, "update", undelayed),
    "Polyak averaging": lambda m: m.setattr(
        promises, "follow", lambda targets, sources, _: targets[0].flat.copy_(sources[0].flat)
    ),
    "average of the policy's weights": lambda m: m.setattr(
        "mjxrl.learners.actor_critic.average", lambda mean, network, *_: mean.flat.lerp_(network.flat, 0.1)
    ),
    "no value after termination": lambda m: m.setattr(
        Scalar, "target", lambda self, batch, outputs, bonus=0.0: batch.reward + batch.discount * outputs[0, :, 0]
    ),
    "BatchNorm's running statistics": lambda m: m.setattr(Network, "observe", lambda self, drift: None),
    "held noise": lambda m: m.setattr("mjxrl.learners.noise.EXPONENT", 1.5),
    "target entropy of a deviation": lambda m: m.setattr("mjxrl.learners.sac.target_entropy", lambda _, size: -size),
}


@pytest.mark.parametrize("name", [name for name in promises.CHECKS if "Stable" not in name])
def test_a_broken_promise_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BREAKS[name](monkeypatch)
    monkeypatch.setattr(promises, "CHECKS", {name: promises.CHECKS[name]})
    [outcome] = promises.run_checks()
    assert (outcome.name, outcome.status) == (name, "FAIL") and "Error" not in outcome.detail


class PeerDistribution:
    """Stable-Baselines3's squashed Gaussian as its documentation has it, where the package is not installed."""

    def __init__(self, size: int, epsilon: float) -> None:
        self._epsilon = epsilon

    def proba_distribution(self, mean: torch.Tensor, log_std: torch.Tensor) -> PeerDistribution:
        self._normal = torch.distributions.Normal(mean, log_std.exp())
        return self

    def log_prob(self, action: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return (self._normal.log_prob(u) - torch.log(1 - action.square() + self._epsilon)).sum(-1)


def test_the_comparison_with_stable_baselines3_passes_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = SimpleNamespace(SquashedDiagGaussianDistribution=PeerDistribution)
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.distributions", peer)
    assert float(promises.log_prob_as_stable_baselines3().split()[-1]) < 1e-8
    monkeypatch.setattr(promises, "squashed_sample", wrong_sample)
    with pytest.raises(promises.BrokenPromiseError):
        promises.log_prob_as_stable_baselines3()


def test_a_check_that_crashes_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(promises, "CHECKS", {"x": broken})
    assert promises.run_checks() == [("x", "FAIL", "RuntimeError: no such thing")]
