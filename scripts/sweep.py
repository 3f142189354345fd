"""Look for settings against the clock; `mjxrl-sweep` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.sweep import main

raise SystemExit(main())
