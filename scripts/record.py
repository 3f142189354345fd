"""Film a policy; `mjxrl-record` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.record import main

raise SystemExit(main())
