"""A run on two processes beside two separate ones: everything is measured, and of the bytes as many as there are."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mjxrl.cli.benchmark import main
from mjxrl.config.presets import default_config, merged
from mjxrl.envs import task_class
from mjxrl.learners import make_learner
from mjxrl.machine.ranks import Ranks
from mjxrl.machine.torchrun import Place, on_one_machine
from mjxrl.measurement import report
from mjxrl.measurement.ranks import WAYS, buckets
from tests.helpers.learners import random_batch

FLAGS = "--env Pendulum-v1 --algo sac --device cpu --backend native --preset laptop --learner.no-compile --num-envs 8"
SIZES = 3, 1  # of Pendulum


def test_a_run_on_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = f"{FLAGS} --sections ranks --ranks 2 --repeats 2 --seconds 0.001 --replay.capacity 2000 --json {out}"
    monkeypatch.setattr(sys, "argv", ["mjxrl-benchmark", *words.split()])
    assert main() == 0
    found = json.loads(out.read_text())["ranks"]
    assert (found["size"], found["num_envs"], found["batch_size"], found["updates_per_step"]) == (2, 4, 128, 8)
    for way in WAYS:
        assert all(len(found[way][name]["repeats"]) == 2 for name in ("iteration_s", "processor_s"))
        assert found[way]["processor_s"]["low"] > 0
    numbers = buckets(default_config("Pendulum-v1", "sac", preset="laptop", device="cpu"), *SIZES)
    together = found["together"]
    assert together["sums"]["repeats"] == [2 * 8, 2 * 8]  # a step of the critics and one of the policy, each update
    assert together["bytes"]["median"] == 8 * 4 * sum(numbers.values())
    assert found["share_in_sums"]["low"] > 0 and found["share_in_sums"]["high"] < 1
    by_processor = [a / b for a, b in zip(*(found[way]["processor_s"]["repeats"] for way in WAYS[1:]), strict=True)]
    assert found["weak_scaling_by_processor_time"]["repeats"] == by_processor
    rows = {(row["preset"], row["algo"], row["of"]): row for row in found["all_reduce"]}
    assert len(rows) == 4 * 2 * 2 and rows["laptop", "sac", "critics"]["numbers"] == numbers["critics"]
    assert all(row["sum_s"]["low"] > 0 for row in rows.values())
    assert "weak scaling by processor time" in capsys.readouterr().out


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize("preset", ["laptop", "fast"])
def test_a_buckets_size_is_that_of_what_is_summed(algo: Any, preset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = default_config("Pendulum-v1", algo, preset=preset, device="cpu")
    config = dataclasses.replace(config, task=task_class("Pendulum-v1")())
    config = merged(config, {"learner": {"actor_hidden": (16, 16), "critic_hidden": (16, 16), "compile": False}})
    summed: list[int] = []

    def note(self: Ranks, tensor: Tensor) -> Tensor:
        summed.append(tensor.numel())
        return tensor

    monkeypatch.setattr(Ranks, "sum", note)
    learner = make_learner(config, 5, 2, "cpu", ranks=Ranks(Place(size=2)))
    learner.updates.update(learner.prepare(random_batch()), torch.zeros(2, 16, 2), policy_due=True)
    assert summed == list(buckets(config, 5, 2).values())


def test_whichever_process_fails_is_told_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, sys, time
sys.stdin.read()
if os.environ["RANK"] == "0":
    time.sleep(1000)
sys.exit("error: no room")
"""
    monkeypatch.setattr(report, "_CODE", code)
    monkeypatch.setattr(report, "PATIENCE", 0.1)
    with pytest.raises(report.FailedError, match=r"^no room$"):
        report.in_processes(["ranks"], [], 1, 1.0, on_one_machine(2, 1))
