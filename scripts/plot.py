"""Draw learning curves of runs; `mjxrl-plot` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.plot import main

raise SystemExit(main())
