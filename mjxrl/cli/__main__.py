"""`python -m mjxrl.cli`: where nothing is installed on the path."""

from __future__ import annotations

from mjxrl.cli.program import main

raise SystemExit(main())
