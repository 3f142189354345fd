"""benchmarks/gpu_learning.py: what it asks `mjxrl-train` for, that it goes on with a run, what it says of others."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu_learning.py"
METRICS = "step,time/elapsed_s,eval/return\n500000,60,1.0\n1003520,120,2.0\n2003520,90,3.0\n"  # the last after a resume


def test_a_run_that_was_cut_off_goes_on_and_a_whole_one_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_gpu_learning", PROGRAM)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    commands: list[list[str]] = []
    run_dir = tmp_path / "runs" / "Ant-v5-sac-4096-0"

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        commands.append(command[2:])
        (run_dir / "checkpoints" / "step_1003520").mkdir(parents=True, exist_ok=True)
        (run_dir / "metrics.csv").write_text(METRICS, encoding="utf-8")
        (run_dir / "config.json").write_text("{}", encoding="utf-8")
        final = {"steps": 2_003_520, "trained": {"mean_return": 6001.0}}
        (run_dir / "final.json").write_text(json.dumps(final), encoding="utf-8")
        return subprocess.CompletedProcess(command, 1 if len(commands) == 1 else 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    options = module.Options(env=("Ant-v5",), algo=("sac",), device="cpu", out=tmp_path)
    assert module.main(options) == 1 and not (tmp_path / run_dir.name).exists()
    first = " ".join(commands[0])
    assert "--eval.every 1000000" in first and f"--run-dir {run_dir} --max-minutes 10" in first
    capsys.readouterr()
    assert module.main(options) == 0
    assert commands[1] == ["--resume", str(run_dir), "--max-minutes", "6.5"]  # 2 + 1.5 minutes are gone
    said = capsys.readouterr().out
    assert "6001 in Gymnasium after 2,003,520 transitions, 2 after 1,003,520 (FlashSAC on Ant-v4, another task" in said
    kept = tmp_path / run_dir.name
    assert {path.name for path in kept.iterdir()} == {"metrics.csv", "config.json", "final.json", "curve.png"}
    assert module.main(options) == 0 and len(commands) == 2 and not run_dir.exists()
