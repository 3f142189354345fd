"""Several ranks learn what one process would, from parts of the same batches, and all of them the same to the bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from mjxrl.config import Algorithm, Config
from mjxrl.config.presets import merged
from mjxrl.learners import Learner, make_learner
from mjxrl.machine.ranks import ALONE, Ranks, differing, fingerprint
from mjxrl.machine.torchrun import Place
from mjxrl.networks.statistics import ReturnScale
from mjxrl.replay import Batch
from mjxrl.worlds.worlds import StepResult
from tests.helpers.learners import ACTION, OBS, SMALL
from tests.helpers.ranked import on_ranks

SIZE = 256  # transitions of a batch, all ranks together
WORLDS = 12
SETTINGS: list[dict[str, Any]] = [
    {},
    {"critic": "categorical", "atoms": 21, "critic_norm": "layer", "critic_activation": "silu", "weight_decay": 0.01},
]


def learner(algo: str, ranks: Ranks, **settings: Any) -> Learner:
    chosen = dataclasses.replace(SMALL, **{"batch_size": SIZE, **settings})
    config = Config(algo=cast(Algorithm, algo), num_envs=WORLDS, total_steps=50_000, learner=chosen)
    return make_learner(config, OBS, ACTION, "cpu", ranks=ranks)


def batch(seed: int, invalid: slice, size: int = SIZE) -> tuple[Batch, Tensor]:
    """A whole batch, and noise for it."""
    g = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, size, OBS, generator=g)
    action, reward = torch.rand(size, ACTION, generator=g) * 2 - 1, torch.randn(size, generator=g)
    terminated, left_out = torch.rand(size, generator=g) < 0.05, torch.zeros(size, dtype=torch.bool)
    left_out[invalid] = True
    reward[invalid] = torch.nan  # as nobody may see it
    discount = torch.full((size,), 0.99)
    counted = (~left_out).sum().clamp(min=1)
    whole = Batch(obs, action, reward, discount, terminated, next_obs, left_out, counted)
    return whole, torch.randn(2, size, ACTION, generator=g)


def part(ranks: Ranks, whole: tuple[Batch, Tensor]) -> tuple[Batch, Tensor]:
    """What of a batch one rank has."""
    content, noise = whole
    size = len(content.invalid) // ranks.size
    mine = slice(ranks.rank * size, (ranks.rank + 1) * size)
    *tensors, invalid = (tensor[mine] for tensor in content[:-1])
    return Batch._make([*tensors, invalid, (~invalid).sum().clamp(min=1)]), noise[:, mine]


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def gradients(of: Learner, whole: tuple[Batch, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    content, noise = part(ranks, whole)
    prepared = of.prepare(content)
    return {
        name: gradient
        for found in (of.algorithm.critic_gradient(prepared, noise), of.algorithm.policy_gradient(prepared, noise))
        for name, gradient in ranks.mean_gradients(found.gradients, prepared.invalid).items()
    }


def test_gradients_of_two_halves_are_those_of_the_whole(tmp_path: Path) -> None:
    """With invalid transitions on one rank only, and with all of one rank's invalid."""

    def work(ranks: Ranks) -> dict[str, float]:
        found = {}
        for algo in ("td3", "sac"):
            for settings in SETTINGS:
                for invalid in (slice(0), slice(20), slice(SIZE // 2)):
                    whole = batch(1, invalid)
                    ours = gradients(learner(algo, ranks, **settings), whole, ranks)
                    expected = gradients(learner(algo, ALONE, **settings), whole, ALONE)
                    assert ours.keys() == expected.keys()
                    for name in ours:
                        what = f"{algo} {settings.get('critic')} {invalid} {name}"
                        found[what] = apart(ours[name], expected[name])
        return found

    for found in on_ranks(tmp_path, 2, work):
        assert len(found) == 2 * 3 * (2 + 3)
        assert {what: value for what, value in found.items() if not value < 1e-6} == {}


def step(seed: int, ranks: Ranks) -> StepResult:
    """One of all worlds' vector steps, this rank's part of it: a world explodes now and then, another one diverges."""
    g = torch.Generator().manual_seed(seed)
    obs, reward = torch.randn(WORLDS, OBS, generator=g) * 3 + 1, torch.randn(WORLDS, generator=g)
    valid, done = torch.rand(WORLDS, generator=g) > 0.1, torch.rand(WORLDS, generator=g) < 0.05
    obs[seed % WORLDS] *= 1 + 1e4 * (seed % 7 == 6)
    obs[~valid] = torch.nan
    reward[~valid] = 0
    size = WORLDS // ranks.size
    mine = slice(ranks.rank * size, (ranks.rank + 1) * size)
    obs, reward, done, valid = (x[mine] for x in (obs, reward, done, valid))
    return StepResult(obs, reward, done, torch.zeros_like(done), obs, valid)


def test_statistics_of_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    """Before and after outliers are winsorised, of observations and of returns, a window's end between them."""

    def work(ranks: Ranks) -> dict[str, float]:
        learners = {}
        for who in (ranks, ALONE):
            learners[who] = learner("sac", who, normalize_obs=True, scale_rewards=True)
            learners[who].return_scale = ReturnScale(WORLDS // who.size, 0.99, 70, "cpu", enabled=True, ranks=who)
            learners[who].start(step(0, who).final_obs.nan_to_num())
            for seed in range(1, 160):
                learners[who].observe(step(seed, who))
        ours, expected = (learners[who].shared_state() for who in (ranks, ALONE))
        return {
            name: apart(ours[name], expected[name]) for name in expected if name.startswith(("norm.", "return_scale."))
        }

    for found in on_ranks(tmp_path, 2, work):
        assert {"norm.mean", "norm.var", "norm.count", "return_scale.largest", "return_scale.before"} <= found.keys()
        assert {name: value for name, value in found.items() if not value < 1e-6} == {}


@pytest.mark.parametrize(("algo", "size", "norm"), [("td3", 2, "none"), ("sac", 3, "batch")])
def test_weights_stay_alike_to_the_bit(algo: str, size: int, norm: str, tmp_path: Path) -> None:
    """After 500 updates, with everything that is trained or counted; and they have moved."""

    def work(ranks: Ranks) -> list[Any]:
        settings = {"normalize_obs": True, "scale_rewards": True, "policy_delay": 2, "critic_norm": norm}
        one = learner(algo, ranks, batch_size=24, hold_noise=4, **settings)
        before = {name: int(fingerprint(x)) for name, x in one.shared_state().items()}
        for k in range(500):
            if k % 10 == 0:
                one.observe(step(k, ranks))
            content, noise = part(ranks, batch(k, slice(3), 24))
            one.updates.update(one.prepare(content), noise, policy_due=k % 2 == 1)
        state = one.shared_state()
        marks = {name: int(fingerprint(x)) for name, x in state.items()}
        return [marks, differing(ranks, state), [name for name in marks if marks[name] == before[name]]]

    first, *others = on_ranks(tmp_path, size, work)
    assert all(other == first for other in others) and first[1] == []
    assert all(name in ("updates", "return_scale.before") for name in first[2])


SABOTAGES = {
    "": [],
    "temperature": ["temperature_adam.exp_avg", "temperature_adam.exp_avg_sq", "log_alpha"],
    "statistics": ["norm.mean", "norm.var", "norm.count"],
    "reward scale": ["return_scale.largest"],
    "a weight": ["actor.0.weight"],
}


def test_whatever_drifts_apart_is_named(tmp_path: Path) -> None:
    def sabotage(kind: str, one: Learner, ranks: Ranks) -> None:
        if kind == "temperature":
            mean = ranks.mean_gradients

            def partly(gradients: dict[str, Tensor], invalid: Tensor) -> dict[str, Tensor]:
                return mean(gradients, invalid) | {name: g for name, g in gradients.items() if name == "temperature"}

            ranks.mean_gradients = partly
        elif kind == "statistics":
            one.norm._ranks = ALONE
        elif kind == "reward scale":
            one.return_scale._ranks = ALONE
        elif kind == "a weight":
            one.algorithm.actor.flat.view(-1)[0] += 1e-7 * ranks.rank

    def work(ranks: Ranks) -> dict[str, list[str]]:
        found = {}
        for kind in SABOTAGES:
            one = learner("sac", ranks, normalize_obs=True, scale_rewards=True)
            sabotage(kind, one, ranks)
            for k in range(3):
                one.observe(step(k, ranks))
                content, noise = part(ranks, batch(k, slice(0)))
                if kind == "temperature":
                    one.updates.update(one.prepare(content), noise, policy_due=True)
            found[kind] = differing(ranks, one.shared_state())
            ranks.__dict__.pop("mean_gradients", None)
        return found

    assert on_ranks(tmp_path, 2, work) == [SABOTAGES, SABOTAGES]


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_exploration_rises_over_all_worlds_once(algo: str) -> None:
    """The ranks' parts, put together, are what one process has."""
    ends = {"exploration_noise": 0.1, "exploration_noise_max": 0.5} if algo == "td3" else {"exploration_scale_max": 3.0}
    config = merged(Config(algo=cast(Algorithm, algo), num_envs=WORLDS, learner=SMALL), {algo: ends})

    def noise(ranks: Ranks) -> Tensor:
        """Of the actions of worlds that all see the same, under noise that is the same for all."""
        one, worlds = make_learner(config, OBS, ACTION, "cpu", ranks=ranks), WORLDS // ranks.size
        normal = torch.full((worlds, ACTION), 0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", lambda *_, **__: normal.clone())
            return one.act(torch.zeros(worlds, OBS))

    parts = [noise(Ranks(Place(rank=rank, size=3))) for rank in range(3)]
    whole = noise(ALONE)
    assert torch.equal(torch.cat(parts), whole) and (whole.diff(dim=0) > 0).all()
