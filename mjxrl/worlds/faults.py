"""Why a step of a world is of no use, by number, so that a device can count without knowing words."""

from __future__ import annotations

from collections.abc import Iterable

from mjxrl.physics import LARGEST

BROKE_DOWN = 2  # the number in `faults` of what can be told without knowing more


def faults(reward_terms: Iterable[str], obs_size: int) -> list[str]:
    """What may make a world's step unusable, in words, by its number in `StepResult.fault`; 0 is nothing.

    An observation is that after the step, or the first one of the next episode.
    """
    numbers = [f"reward term {name!r}" for name in sorted(reward_terms)] + [f"observation {i}" for i in range(obs_size)]
    bad = [f"{number} was NaN or beyond {LARGEST:g}" for number in numbers]
    return ["nothing", "the action was NaN", "the simulation broke down", *bad]
