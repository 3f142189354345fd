"""`mjxrl-train`: train a policy and score it in Gymnasium."""

from __future__ import annotations

import sys

from mjxrl import runtime
from mjxrl.cli.parse import parse_config, refuse


def main() -> int:
    """Train as the command line says; returns the exit status."""
    config = parse_config(sys.argv[1:])
    device = runtime.resolve_device(config.device)
    backend, reason = runtime.resolve_backend(config.backend, device)
    runtime.set_up(device, backend)
    if config.device == "auto" and device == "cpu":
        print(f"device: cpu ({runtime.device_name(device)}), because {runtime.cuda_problem()}")
    else:
        print(f"device: {device} ({runtime.device_name(device)})")
    print(f"physics: {backend} ({reason})", flush=True)
    from mjxrl.checkpoint import CheckpointError
    from mjxrl.trainer import train

    try:
        train(config)
    except CheckpointError as error:
        refuse([f"--init-from {config.init_from}: {error}"])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
