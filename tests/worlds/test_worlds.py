"""The contract's own parts."""

from __future__ import annotations

import torch

from mjxrl.worlds.worlds import CountsOverflows, Resumable, StepResult
from tests.helpers.rail import Rail, SavedRail


def test_a_result_has_defaults_that_make_it_easy_to_give() -> None:
    obs, flags = torch.zeros(3, 2), torch.tensor([True, False, False])
    result = StepResult(obs, obs[:, 0], flags, flags.roll(1), obs)
    assert result.valid.all() and result.valid.dtype == torch.bool
    assert result.reward_terms == {} and result.outcome == {}
    assert result.done.tolist() == [True, True, False] and not result.diverged.any()
    broken = result._replace(valid=torch.tensor([False, True, False]))
    assert broken.diverged.tolist() == [True, False, False]  # the third one only took the step to begin anew


def test_what_can_be_saved_is_known_by_its_methods() -> None:
    assert isinstance(SavedRail(1), Resumable) and not isinstance(Rail(1), Resumable)
    assert not isinstance(Rail(1), CountsOverflows)


def test_a_step_is_dispatch_and_collect() -> None:
    one, other = Rail(3), Rail(3)
    assert torch.equal(one.reset(), other.reset())
    action = torch.full((3, 1), 0.5)
    result = one.step(action)
    other.dispatch(action)
    assert torch.equal(result.obs, other.collect().obs)
    one.close()
