"""Lets the scripts run from a bare checkout: finds its `mjxrl` where none is installed.

The checkout leaves the path again at once, so that its top-level `envs` never shadows a user's own.
"""

import sys
from pathlib import Path

try:
    import mjxrl
except ModuleNotFoundError:
    root = str(Path(__file__).resolve().parents[1])
    sys.path.append(root)
    import mjxrl  # noqa: F401

    sys.path.remove(root)
