"""`--learner.policy-average`: an average of the actor's weights is the policy, and learning does not notice."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.learners import OBS, both, filled_replay, learner_of, same

F64 = torch.float64
PLAIN = {"policy_delay": 2, "critic_norm": "batch"}
AVERAGED = {**PLAIN, "policy_average": 0.25}
OTHERS = torch.randn(7, OBS, generator=torch.Generator().manual_seed(3), dtype=F64)


@both
def test_it_moves_with_the_policy_and_with_nothing_else(algo: str) -> None:
    learner, replay, g = learner_of(algo, F64, **AVERAGED), filled_replay(F64), torch.Generator().manual_seed(0)
    average, actor = learner.algorithm.best_actor.flat, learner.algorithm.actor.flat
    wanted = actor.clone()
    assert torch.equal(average, wanted)
    for made in range(1, 121):
        learner.update(replay, 1, g)
        if made % 2 == 0:
            share = max(0.25, 10 / (made // 2 + 9))  # all of it at first, less than a quarter from the 32nd on
            wanted = (1 - share) * wanted + share * actor
        torch.testing.assert_close(average, wanted, rtol=0, atol=1e-6)  # shares are float32
    assert not torch.allclose(average, actor, atol=1e-4)


@both
def test_the_actor_explores_and_learns_as_without(algo: str) -> None:
    plain, averaged = (learner_of(algo, F64, **settings) for settings in (PLAIN, AVERAGED))
    for learner in (plain, averaged):
        learner.update(filled_replay(F64), 8, torch.Generator().manual_seed(0))
    state = averaged.state_dict()
    assert same(plain.state_dict(), {name: x for name, x in state.items() if not name.startswith("average_actor.")})
    explored = [x.act(OTHERS[:4], torch.Generator().manual_seed(1)) for x in (plain, averaged)]
    assert torch.equal(*explored)
    assert not torch.allclose(plain.act_deterministic(OTHERS), averaged.act_deterministic(OTHERS), atol=1e-6)


@both
def test_its_actions_are_those_of_an_actor_with_these_weights(algo: str) -> None:
    averaged, plain = learner_of(algo, F64, **AVERAGED), learner_of(algo, F64, seed=1, **PLAIN)
    averaged.update(filled_replay(F64), 8, torch.Generator().manual_seed(0))
    plain.algorithm.actor.flat.copy_(averaged.algorithm.best_actor.flat)
    assert torch.equal(averaged.act_deterministic(OTHERS), plain.act_deterministic(OTHERS))


@both
@pytest.mark.parametrize("has_average", [False, True])
def test_weights_of_a_run_with_or_without_one(algo: str, has_average: bool) -> None:
    source = learner_of(algo, F64, **(AVERAGED if has_average else PLAIN))
    source.update(filled_replay(F64), 8, torch.Generator().manual_seed(0))
    learner, plain = learner_of(algo, F64, seed=1, **AVERAGED), learner_of(algo, F64, seed=1, **PLAIN)
    for each in (learner, plain):
        each.load_weights(source.state_dict())
        assert torch.equal(each.algorithm.actor.flat, source.algorithm.actor.flat)
    assert torch.equal(learner.algorithm.best_actor.flat, source.algorithm.best_actor.flat)
