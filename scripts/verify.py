"""Check on the CPU what the algorithms promise; `mjxrl-verify` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.verify import main

raise SystemExit(main())
