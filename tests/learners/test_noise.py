"""Exploration noise that worlds keep: its law, each world by itself, saved and gone on with."""

from __future__ import annotations

import pytest
import torch

from mjxrl.learners.noise import HeldNoise
from tests.helpers.learners import OBS, WORLDS, both, learner_of, same


def drawn(longest: int, steps: int, worlds: int) -> torch.Tensor:
    noise, g = HeldNoise(longest, worlds, 2, "cpu", torch.float64), torch.Generator().manual_seed(0)
    return torch.stack([noise.draw(worlds, g) for _ in range(steps)])  # (T, N, A)


def test_new_at_every_step_is_the_generators_own() -> None:
    noise, g = HeldNoise(1, 3, 2, "cpu", torch.float32), torch.Generator().manual_seed(4)
    wanted = torch.Generator().manual_seed(4)
    for worlds in (3, 5):
        assert torch.equal(noise.draw(worlds, g), torch.randn(worlds, 2, generator=wanted))
    assert noise.state_dict() == {}


def test_steps_follow_the_zeta_law_for_each_world() -> None:
    longest, x = 4, drawn(4, 4000, 8)
    weights = torch.arange(1.0, longest + 1) ** -2
    law = weights / weights.sum()
    lengths = torch.zeros(longest)
    for world in range(8):
        begins = (x[1:, world] != x[:-1, world]).any(-1).nonzero()[:, 0]
        lengths += torch.bincount(begins.diff(), minlength=longest + 1)[1:]
    torch.testing.assert_close(lengths / lengths.sum(), law, atol=0.01, rtol=0)
    new = (x[1:] != x[:-1]).any(-1)  # (T - 1, N)
    expected = 1 / (law * torch.arange(1, longest + 1)).sum()  # renewal theory: 1 / E[k]
    assert new.double().mean().item() == pytest.approx(expected.item(), abs=0.01)
    assert (new.all(-1) | ~new.any(-1)).double().mean() < 0.1  # not all together
    assert x.mean().item() == pytest.approx(0, abs=0.03) and x.std().item() == pytest.approx(1, abs=0.03)


@both
def test_a_learner_goes_on_with_what_its_worlds_hold(algo: str) -> None:
    one, two = (learner_of(algo, seed=3, hold_noise=16) for _ in range(2))
    obs, g = torch.zeros(WORLDS, OBS), torch.Generator().manual_seed(1)
    for _ in range(5):
        one.act(obs, g)
    saved = one.state_dict()
    kept = {name: value.clone() for name, value in saved.items()}
    two.load_state_dict(saved)
    other = torch.Generator()
    other.set_state(g.get_state())
    actions = torch.stack([one.act(obs, g) for _ in range(20)])
    assert torch.equal(actions, torch.stack([two.act(obs, other) for _ in range(20)]))
    assert same(saved, kept) and not same(saved, one.state_dict())
    assert (actions[1:] == actions[:-1]).all(-1).any()
    assert torch.equal(one.act_deterministic(obs), two.act_deterministic(obs))
