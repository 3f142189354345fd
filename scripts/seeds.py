"""Train under several seeds and draw their spread; `mjxrl-seeds` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.seeds import main

raise SystemExit(main())
