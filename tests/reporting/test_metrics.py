from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.logs import logged


@pytest.mark.parametrize("rank", ["1", "", "x"])
def test_what_a_scheduler_leaves_in_the_environment_changes_nothing(
    rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    assert logged(tmp_path / "run", (1, {"a": 1})) == [{"step": "1", "a": "1.0"}]
