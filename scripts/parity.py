"""Compare our worlds with Gymnasium's; `mjxrl-parity` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.parity import main

raise SystemExit(main())
