"""Measure speed and memory on this machine; `mjxrl-benchmark` once installed."""

import _checkout  # noqa: F401

from mjxrl.cli.benchmark import main

raise SystemExit(main())
