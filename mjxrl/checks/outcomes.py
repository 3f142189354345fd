"""What comes of a check of a promise."""

from __future__ import annotations

from typing import NamedTuple


class BrokenPromiseError(AssertionError):
    """A check failed; the message is what was measured."""


class Skipped(Exception):  # noqa: N818 - nothing went wrong
    """A check could not be made; the message says why."""


class Outcome(NamedTuple):
    """What came of a check."""

    name: str
    status: str
    """PASS, FAIL or SKIP."""
    detail: str


def check(holds: bool, measured: str) -> str:
    """`measured`, if it is as it should be."""
    if not holds:
        raise BrokenPromiseError(measured)
    return measured
