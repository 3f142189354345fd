"""`mjxrl doctor`: what this machine has for mjxrl, and what is missing with the command that brings it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mjxrl.cli.parse import parse, refuse


@dataclass(frozen=True)
class Options:
    """Print what mjxrl finds on this machine, and the commands that bring what is missing."""


def main() -> int:
    """Look at everything; returns the exit status."""
    _, problems = parse(Options(), sys.argv[1:], "mjxrl-doctor")
    if problems:
        refuse(problems)
    from mjxrl.checks.installation import findings

    found = findings()
    width = max(len(each.name) for each in found)
    for name, what, remedy in found:
        print(f"{name:{width}}  {what or 'none'}{': ' if remedy else ''}{remedy}")
    return 0
