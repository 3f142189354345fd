"""Train a policy; `mjxrl-train` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.train import main

raise SystemExit(main())
