"""What a process learns from its environment, and which GPU it takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mjxrl.machine import threads, torchrun
from mjxrl.machine.torchrun import Place

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def told(monkeypatch: pytest.MonkeyPatch, **env: object) -> None:
    for name, value in {**MEETING, **env}.items():
        monkeypatch.setenv(name, str(value))


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where something else sets WORLD_SIZE."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert torchrun.place() == Place() == Place(rank=0, size=1, local_rank=0, local_size=1)


def test_with_one_it_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, RANK=9, WORLD_SIZE=16, LOCAL_RANK=1, LOCAL_WORLD_SIZE=8, TORCHELASTIC_RESTART_COUNT=2)
    assert torchrun.place() == Place(9, 16, 1, 8, restarts=2, restarts_allowed=0)
    assert not torchrun.place().speaks


@pytest.mark.parametrize(
    ("visible", "own"),
    [
        (None, "1"),
        ("4,5,6", "5"),
        ("GPU-aa, GPU-bb", "GPU-bb"),
        ("3", "3"),  # Slurm's one for each task
        ("", ""),  # hidden, every one
        ("-1", "-1"),
    ],
)
def test_each_takes_its_own_gpu(visible: str | None, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told(monkeypatch, RANK=5, WORLD_SIZE=8, LOCAL_RANK=1, LOCAL_WORLD_SIZE=2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    torchrun.take_own_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == own
    torchrun.take_own_gpu()
    assert visible is None or os.environ["CUDA_VISIBLE_DEVICES"] == own


def test_a_machines_cores_are_shared_by_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(11)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "max 100000")  # no quota
    assert threads.available_cores() == 11
    told(monkeypatch, RANK=4, WORLD_SIZE=8, LOCAL_RANK=0, LOCAL_WORLD_SIZE=4)
    assert threads.available_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert threads.available_cores() == 1


def test_what_each_process_of_a_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, environment in enumerate(torchrun.on_one_machine(3, 29500)):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert torchrun.place() == Place(rank, 3, rank, 3)


def test_alone_it_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torchrun.take_own_gpu()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
