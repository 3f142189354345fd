"""Goal tasks are scored by success, in gymnasium-robotics itself; the best policy is the one that succeeds most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mjxrl.envs import task_class
from mjxrl.policy.evaluation import EvalResult, evaluate, unlike_gymnasium
from mjxrl.storage import checkpoint

pytest.importorskip("gymnasium_robotics", reason="gymnasium-robotics is missing: pip install 'mjxrl[robotics]'")


@pytest.mark.parametrize("where", ["gymnasium", "native"])
def test_going_straight_to_the_goal_succeeds_and_standing_still_does_not(where: str) -> None:
    task, scores = task_class("FetchReachDense-v4")(), []

    def straight(obs: torch.Tensor) -> torch.Tensor:
        way = torch.clamp((obs[:, 10:13] - obs[:, :3]) * 10, -1, 1)
        return torch.cat([way, torch.zeros(len(obs), 1)], 1)

    for policy in (straight, lambda obs: torch.zeros(len(obs), 4)):
        result = evaluate(policy, task, where, episodes=4, seed=1, device=torch.device("cpu"))
        assert result.where == where and {len(values) for values in result.outcomes.values()} == {4}
        scores.append(result)
    reached, stood = scores
    assert reached.means["success"] == 1 and reached.means["distance"] < 0.01 and reached.means["action_change"] > 0
    assert stood.means["success"] < 1 and stood.means["action_change"] == 0
    assert "success 100%" in reached.in_words() and reached.as_json()["success"] == 1


def test_a_changed_task_is_not_scored_there() -> None:
    assert unlike_gymnasium(task_class("FetchPush-v4")()) is None
    assert "frame_skip" in (unlike_gymnasium(task_class("FetchPush-v4")(frame_skip=10)) or "")


def test_success_comes_before_return() -> None:
    often, cheaply = (EvalResult([r], [50], outcomes={"success": [s]}) for r, s in ((-40.0, 1.0), (-10.0, 0.0)))
    plain = EvalResult([5.0], [50])
    assert often.rank > cheaply.rank and plain.rank == (0.0, 5.0)


def test_the_best_checkpoint_is_by_success_then_return_and_older_ones_have_a_return_alone(tmp_path: Path) -> None:
    weights = {"learner": {"w": torch.zeros(1)}}
    for step, noted in ((1, -3.0), (2, [0.5, -40.0]), (3, [0.5, -30.0]), (4, [0.0, 10.0])):
        checkpoint.save(tmp_path, step, weights, {"return": noted}, kind="best")
    assert checkpoint.read_manifest(tmp_path, "best", {})["step"] == 3
