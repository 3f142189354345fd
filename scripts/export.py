"""Write the policy of a run as files that need no run; `mjxrl-export` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.export import main

raise SystemExit(main())
