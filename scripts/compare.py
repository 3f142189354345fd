"""Compare runs; `mjxrl-compare` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.compare import main

raise SystemExit(main())
