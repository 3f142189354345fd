"""benchmarks/gpu.py on a CPU: it goes on where it stopped, writes after every section and waits for none too long."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mjxrl.measurement.report import FailedError

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> Any:
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_all_of_it_takes_45_minutes_at_most(gpu: Any) -> None:
    sections = list(gpu.sections(gpu.Options()))
    names = [section.name for section in sections]
    assert sum(section.limit for section in sections) <= 45 * 60
    assert len(set(names)) == len(names)
    rows = {
        f"{b} {env} {n}" for b in ("native", "jax", "warp") for env in gpu.Options.tasks for n in gpu.Options.worlds
    }
    assert rows <= set(names) and {"learner sac Ant-v5 both", "iteration jax Ant-v5 4096"} <= set(names)


def test_a_row_in_c_and_a_time_limit(gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"device": "cpu", "worlds": (8,), "tasks": ("HalfCheetah-v5",), "repeats": 2, "seconds": 0.001}
    options = gpu.Options(**small, only=("native",), out=tmp_path / "new" / "cpu.json", patience=0.004)
    assert gpu.main(options) == 1
    report = json.loads(options.out.read_text(encoding="utf-8"))
    assert report["failures"] == {"native HalfCheetah-v5 8": "not done after 0.1 s"} and report["sections"] == {}
    assert gpu.main(gpu.Options(**small, only=options.only, out=options.out, patience=10.0)) == 0
    report = json.loads(options.out.read_text(encoding="utf-8"))
    found = report["sections"]["native HalfCheetah-v5 8"]
    assert found["stepping"]["env_steps_per_s"]["median"] > 0 and found["device"] == "cpu" and report["failures"] == {}
    assert report["device"] and report["versions"]["mujoco"]


def test_what_is_there_is_not_measured_again(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def in_process(what: list[str], flags: list[str], *_: Any, limit: float) -> dict[str, Any]:
        asked.append(" ".join([*what, *flags]))
        if len(asked) == 2:
            raise FailedError("no room")
        if len(asked) == 4:
            raise KeyboardInterrupt
        return {"limit": limit}

    monkeypatch.setattr(gpu, "in_process", in_process)
    options = gpu.Options(
        device="cpu", worlds=(8,), tasks=("A", "B", "C"), only=("native", "iteration n"), out=tmp_path / "x"
    )
    with pytest.raises(KeyboardInterrupt):
        gpu.main(options)
    report = json.loads(options.out.read_text(encoding="utf-8"))
    assert list(report["sections"]) == ["native A 8", "native C 8"] and report["failures"] == {"native B 8": "no room"}
    assert gpu.main(options) == 0
    assert [words.split()[2] for words in asked] == ["A", "B", "C", "A", "A", "B"]  # what failed comes last
    assert gpu.main(options) == 0 and len(asked) == 6
    assert json.loads(options.out.read_text(encoding="utf-8"))["failures"] == {}
