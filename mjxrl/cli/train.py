"""`mjxrl-train`: train a policy and score it in Gymnasium."""

from __future__ import annotations

import sys

from mjxrl.cli.parse import parse_config, refuse
from mjxrl.errors import DivergedError, DriftError, PeerError, Refusal, SavingError
from mjxrl.machine import torchrun


def main() -> int:
    """Train as the command line says; returns the exit status."""
    torchrun.take_own_gpu()
    config = parse_config(sys.argv[1:])
    from mjxrl.training.launch import train  # torch, which takes seconds

    try:
        return train(config)
    except Refusal as error:
        refuse([str(error)])
    except (DivergedError, DriftError) as error:  # the same on all of a run's processes
        if torchrun.place().speaks:
            print(f"error: {error}", file=sys.stderr)
        return 1
    except PeerError as error:
        print(f"error: {error}; the last checkpoint stays: go on with --resume", file=sys.stderr)
        return 1
    except SavingError as error:
        print(f"error: {error}; the last checkpoint stays: go on with --resume", file=sys.stderr)
        return 1
