"""Actions in [-1, 1], as policies and replay have them, and the controls of a simulator that they stand for.

Written for any arrays: numpy, jax, torch.
"""

from __future__ import annotations

from typing import Any


def to_controls(action: Any, low: Any, high: Any) -> Any:
    """The controls, (…, A) from `low` to `high`, that actions, (…, A) from -1 to 1, stand for."""
    return (high + low) / 2 + (high - low) / 2 * action


def to_actions(control: Any, low: Any, high: Any) -> Any:
    """The actions that stand for controls."""
    return (control - (high + low) / 2) / ((high - low) / 2)
