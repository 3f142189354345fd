"""`mjxrl-verify`: PASS or FAIL for what the algorithms promise, in seconds on a CPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mjxrl.cli.parse import parse, refuse


@dataclass(frozen=True)
class Options:
    """Check what TD3 and SAC promise, on the CPU; exits 1 if a promise is broken."""


def main() -> int:
    """Check everything; returns the exit status."""
    _, problems = parse(Options(), sys.argv[1:], "mjxrl-verify")
    if problems:
        refuse(problems)
    import torch

    from mjxrl.checks.promises import run_checks

    torch.set_num_threads(1)
    outcomes = run_checks()
    width = max(len(outcome.name) for outcome in outcomes)
    for name, status, detail in outcomes:
        print(f"{status}  {name:{width}}  {detail}")
    failed, skipped = (sum(outcome.status == status for outcome in outcomes) for status in ("FAIL", "SKIP"))
    kept = f"all promises kept, {skipped} not checked" if skipped else "all promises kept"
    print(f"{failed} of {len(outcomes)} failed" if failed else kept)
    return 1 if failed else 0
