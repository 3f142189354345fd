"""`mjxrl-train`: train a policy and score it in Gymnasium."""

from __future__ import annotations

import sys

from mjxrl.cli.parse import parse_config, refuse
from mjxrl.errors import Refusal
from mjxrl.machine import devices, settings


def main() -> int:
    """Train as the command line says; returns the exit status."""
    config = parse_config(sys.argv[1:])
    device = devices.resolve_device(config.device)
    settings.set_up(device, devices.resolve_backend(config.backend, device)[0])  # before anything imports jax
    from mjxrl.errors import DivergedError
    from mjxrl.training.launch import train

    try:
        return train(config)
    except Refusal as error:
        refuse([str(error)])
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a full disk: the last checkpoint is whole
        print(f"error: {error}; the last checkpoint stays: go on with --resume", file=sys.stderr)
        return 1
