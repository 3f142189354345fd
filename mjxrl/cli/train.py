"""`mjxrl-train`: train a policy and score it in Gymnasium."""

from __future__ import annotations

import sys

from mjxrl.cli.parse import parse_config, refuse
from mjxrl.machine import runtime
from mjxrl.storage.run_dir import RunError


def main() -> int:
    """Train as the command line says; returns the exit status."""
    config = parse_config(sys.argv[1:])
    device = runtime.resolve_device(config.device)
    runtime.set_up(device, runtime.resolve_backend(config.backend, device)[0])  # before anything imports jax
    from mjxrl.reporting.quarantine import DivergedError
    from mjxrl.training.launch import train

    try:
        return train(config)
    except (RunError, runtime.UnavailableError) as error:
        refuse([str(error)])
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a full disk: the last checkpoint is whole
        print(f"error: {error}; the last checkpoint stays: go on with --resume", file=sys.stderr)
        return 1
