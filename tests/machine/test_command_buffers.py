"""What is concluded from the check of command buffers, with its processes stood in for; and the check, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import pytest

from mjxrl.machine import command_buffers, devices
from mjxrl.machine.command_buffers import FLAG


class Processes:
    """Stands for the processes of the check: what each prints, by its flag; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results = {"": (0, "[1]\n", ""), FLAG: (0, "[1]\n", "")}
        self.started = 0
        monkeypatch.setattr(command_buffers, "_run", self.run)

    def run(self, flag: str) -> CompletedProcess[str]:
        self.started += 1
        return CompletedProcess([], *self.results[flag])


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(monkeypatch)


def test_equal_results_are_believed_once_and_kept_for_this_machine(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_buffers.problem(tmp_path) is None and processes.started == 2
    assert command_buffers.problem(tmp_path) is None and processes.started == 2
    monkeypatch.setattr(devices, "cuda_driver_version", lambda: 13010)  # another driver
    assert command_buffers.problem(tmp_path) is None and processes.started == 4
    monkeypatch.setattr(devices, "device_name", lambda device: "NVIDIA L4")
    assert command_buffers.problem(tmp_path) is None and processes.started == 6
    assert len(json.loads((tmp_path / "command_buffers.json").read_text())) == 3


def test_a_crash_and_other_results_keep_loops_out_and_are_remembered(processes: Processes, tmp_path: Path) -> None:
    processes.results[FLAG] = (-11, "", "thunk\nFatal: a second execution\n")
    for _ in range(2):
        assert command_buffers.problem(tmp_path) == "the check ends with status -11: Fatal: a second execution"
    assert processes.started == 2
    processes.results[FLAG] = (0, "[2]\n", "")
    assert command_buffers.problem(None) == "the check has other results"  # without a folder it is made every time


def test_nothing_is_concluded_where_jax_does_not_run_at_all(processes: Processes, tmp_path: Path) -> None:
    processes.results[""] = (1, "", "no memory")
    assert command_buffers.problem(tmp_path) == "the check fails without them too: no memory"
    assert not list(tmp_path.iterdir())


def test_a_spoilt_file_of_verdicts_is_written_anew(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "command_buffers.json").write_text("{")
    assert command_buffers.problem(tmp_path) is None and processes.started == 2
    assert command_buffers.problem(tmp_path) is None and processes.started == 2


def test_a_process_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise TimeoutExpired(command, timeout)

    monkeypatch.setattr(command_buffers.subprocess, "run", hang)
    done = command_buffers._run(FLAG)
    assert done.returncode and done.stderr == "no end within 300 s"


def test_the_check_itself_and_a_crash_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    done = command_buffers._run("", steps=4)
    places = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(places) == 4 and places[0] != places[-1], done.stderr
    assert len(set(places[-1])) == 8  # all worlds move, each its own way
    monkeypatch.setattr(command_buffers, "_run", lambda flag, run=command_buffers._run: run(flag) if flag else done)
    monkeypatch.setattr(command_buffers, "FLAG", "--xla_no_such_flag")  # XLA aborts the process
    assert (command_buffers.problem(None) or "works").startswith("the check ends with status ")
