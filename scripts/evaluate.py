"""Score the policy of a run; `mjxrl-evaluate` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.evaluate import main

raise SystemExit(main())
