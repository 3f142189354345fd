"""Show what this machine has for mjxrl, and what is missing; `mjxrl-doctor` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.doctor import main

raise SystemExit(main())
