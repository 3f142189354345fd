"""The program that a report starts for each number of worlds: reads a job as JSON, writes the result to its file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mjxrl.cli.parse import parse_config, refuse
from mjxrl.errors import Refusal
from mjxrl.machine import torchrun
from mjxrl.measurement.worker import Job, do


def main() -> int:
    """Do the job on standard input; returns the exit status."""
    torchrun.take_own_gpu()
    job: Job = json.loads(sys.stdin.read())
    try:
        found = do(job, parse_config(job["flags"]))
    except Refusal as error:
        refuse([str(error)])
    Path(job["out"]).write_text(json.dumps(found, default=str), encoding="utf-8")
    return 0
