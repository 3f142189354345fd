"""The table that `--backend auto` reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mjxrl.envs import TASKS
from mjxrl.machine.backends import ANY, TABLE, Row, row

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("entry", TABLE)
def test_a_row_decides_somewhere_and_its_raw_files_are_there(entry: Row) -> None:
    assert row(entry.device, entry.num_envs, "my:Task" if entry.env == ANY else entry.env) is entry
    assert entry.env == ANY or entry.env in TASKS
    files = re.findall(r"[^ /]+\.json", entry.source)
    assert files or "http" in entry.source or "arXiv" in entry.source
    assert [name for name in files if not (RESULTS / name).exists()] == []


def test_few_worlds_step_in_c_and_a_cpu_always_does() -> None:
    assert {row("cpu", worlds, "Ant-v5").backend for worlds in (1, 64, 4096)} == {"native"}
    assert [row("cuda", worlds, "Ant-v5").backend for worlds in (1, 255, 256, 4096)] == [
        "native",
        "native",
        "jax",
        "jax",
    ]
