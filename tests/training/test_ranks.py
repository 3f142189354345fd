"""Two or more processes train as one: they learn the same, stop together, and what they save goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import safetensors.torch
import torch
from torch import Tensor

from mjxrl.cli import train as command
from mjxrl.learners import Learner
from mjxrl.machine import devices
from mjxrl.machine.ranks import Ranks
from mjxrl.storage import checkpoint
from mjxrl.training import launch as launching
from mjxrl.training import meeting
from mjxrl.training.launch import make_worlds
from mjxrl.training.launch import train as launch
from mjxrl.training.session import Session
from mjxrl.worlds.faults import BROKE_DOWN
from mjxrl.worlds.numpy_runner import NumpyRunner
from mjxrl.worlds.vector_env import VectorEnv
from mjxrl.worlds.worlds import StepResult
from tests.helpers.forked_runs import Ended, Process, resumed
from tests.helpers.ranked import started, together
from tests.helpers.small_runs import rows_of, small

SETTINGS: dict[str, Any] = {
    "eval": {"final_episodes": 0, "every": 160, "episodes": 1},
    "checkpoint": {"every": 160},
    "learner": {"normalize_obs": True, "scale_rewards": True},
    "total_steps": 320,
}
FILES = {"learner", "trainer", "env", "replay"}
FOREVER = {"total_steps": 10**9, "eval": {"final_episodes": 0, "every": 0}, "checkpoint": {"every": 80}}


def run(path: Path, algo: str = "td3", size: int = 2, **changes: Any) -> list[Ended]:
    config = small(algo, **{**SETTINGS, "run_dir": path, **changes})
    return together(path.with_suffix(".log"), lambda: launch(config), size)


def all_well(ended: list[Ended]) -> str:
    """What the first one said; the others say nothing."""
    assert [each.status for each in ended] == [0] * len(ended), ended
    assert all(each.said == "" for each in ended[1:]), ended
    return ended[0].said


def hashes(path: Path) -> dict[str, str]:
    return checkpoint.read_manifest(path, "latest", {})["sha256"]


@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_a_resumed_run_of_two_is_the_same_run(algo: str, tmp_path: Path) -> None:
    """In every file, of both, and in metrics.csv; stopped between two log lines."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    said = all_well(run(whole, algo))
    assert "2 ranks, each 4 of 8 worlds, 16 of 32 transitions per update, 200 of 400 in the replay" in said
    all_well(run(parts, algo, total_steps=200))
    assert "resumed at 200 steps" in all_well(together(parts.with_suffix(".log"), lambda: resumed(parts, 320)))
    assert {*FILES, *(f"{file}.1" for file in FILES)} == hashes(whole).keys()
    assert hashes(whole) == hashes(parts)
    assert rows_of(whole) == rows_of(parts)


@pytest.mark.parametrize("size", [1, 4])
def test_another_number_of_them_goes_on_with_what_was_learned(size: int, tmp_path: Path) -> None:
    path = tmp_path / "run"
    all_well(run(path, total_steps=160))
    before = checkpoint.load(path, "latest", "learner", {})
    ended = together(path.with_suffix(".log"), lambda: resumed(path, 400), size)
    now = f"2 processes saved it and {size} go on"
    assert now in all_well(ended) and "worlds and replay start afresh" in ended[0].said
    after = checkpoint.load(path, "latest", "learner", {})
    assert after["updates"] > before["updates"] > 0 and after["norm.count"] > before["norm.count"]
    assert int(rows_of(path)[-1]["step"]) == 400
    assert checkpoint.read_manifest(path, "latest", {}).get("ranks", 1) == size


def test_no_two_ranks_nor_the_evaluation_begin_alike(tmp_path: Path) -> None:
    config = small("td3", run_dir=tmp_path)
    seen = {}
    for rank in range(3):
        ranks = Ranks(command.torchrun.Place(rank=rank, size=4))
        worlds, _ = make_worlds(config, config.machine(), ranks)
        session = Session(worlds, config, tmp_path, ranks)
        seen[rank] = worlds.reset(), torch.rand(3, generator=session.generator)
    _, eval_worlds = make_worlds(config, config.machine())
    first = [obs for obs, _ in seen.values()] + [eval_worlds.reset(seed=config.seed + 1)]
    flat = torch.cat(first)
    assert len(flat.unique(dim=0)) == len(flat)
    assert len({tuple(draw.tolist()) for _, draw in seen.values()}) == 3


def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = small("td3", **{**SETTINGS, **FOREVER, "run_dir": path})
    processes = started(path.with_suffix(".log"), lambda: launch(config))
    until(lambda: bool(checkpoint.steps_saved(path)))
    os.kill(processes[1].pid, signal.SIGTERM)
    first, second = (process.wait() for process in processes)
    assert (first.status, second.status) == (143, 143), (first, second)
    assert "stopped by SIGTERM" in first.said and "--resume" in first.said and second.said == ""
    step, trainers = checkpoint.steps_saved(path)[0], []
    for rank in range(2):
        ranks = Ranks(command.torchrun.Place(rank=rank, size=2))
        trainers.append(checkpoint.read(path, f"step_{step}", {}, ranks=ranks).files)
    assert all(files.keys() == FILES for files in trainers)
    assert not torch.equal(trainers[0]["trainer"]["obs"], trainers[1]["trainer"]["obs"])


def test_if_one_is_killed_the_other_ends_soon_and_the_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = small("td3", **{**SETTINGS, **FOREVER, "run_dir": path})
    sys.argv = ["mjxrl-train"]

    def work() -> int:
        command.parse_config = lambda argv: config  # type: ignore[assignment]
        return command.main()

    processes = started(path.with_suffix(".log"), work)
    until(lambda: bool(checkpoint.steps_saved(path)))
    processes[1].kill()
    killed = time.monotonic()
    ended = processes[0].wait()
    assert ended.status == 1 and time.monotonic() - killed < 60
    errors = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "another process of this run has ended" in errors[0] and "Traceback" not in ended.said
    assert checkpoint.read(path, "latest", {}, ranks=Ranks(command.torchrun.Place(rank=0, size=2))).files


def until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_minutes_end_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run"
    all_well(run(path, max_minutes=1e-9))
    assert len(checkpoint.steps_saved(path)) == 1


@pytest.mark.parametrize(("on_nan", "status"), [("report", 0), ("raise", 1)])
def test_a_world_that_diverges_on_one_rank_is_counted_by_all(on_nan: str, status: int, tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = small("td3", **{**SETTINGS, "run_dir": path, "on_nan": on_nan, "total_steps": 240})

    def work() -> int:
        if command.torchrun.place().rank == 1:
            collect, calls = NumpyRunner.collect, iter(range(10**6))

            def broken(self: NumpyRunner) -> Any:
                result = collect(self)
                if next(calls) != 3 or result.fault is None:
                    return result
                valid, ended, fault = (x.clone() for x in (result.valid, result.terminated, result.fault))
                valid[0], ended[0], fault[0] = False, True, BROKE_DOWN
                return result._replace(valid=valid, terminated=ended, fault=fault)

            NumpyRunner.collect = broken  # type: ignore[method-assign]
        command.parse_config = lambda argv: config  # type: ignore[assignment]
        return command.main()

    sys.argv = ["mjxrl-train"]
    ended = together(path.with_suffix(".log"), work)
    assert [each.status for each in ended] == [status, status], ended
    assert rows_of(path)[0]["train/diverged"] == "1.0"
    assert sum("--on-nan raise" in each.said for each in ended) == (on_nan == "raise")
    cases = safetensors.torch.load_file(path / "diverged.1.safetensors")
    assert cases["world"].tolist() == [4]  # the fifth of all, the first of this rank


def sabotage(what: str, learner: Learner, ranks: Ranks) -> None:
    """From now on one rank goes its own way in this; it still meets the others wherever they sum something."""
    if what == "temperature":
        together = ranks.mean_gradients

        def partly(gradients: dict[str, Tensor], invalid: Tensor) -> dict[str, Tensor]:
            return together(gradients, invalid) | {name: g for name, g in gradients.items() if name == "temperature"}

        learner.updates._ranks = cast(Ranks, SimpleNamespace(mean_gradients=partly))
    elif what == "statistics":
        norm, sums = learner.norm, learner.norm._moments_over_ranks
        norm._moments_over_ranks = lambda batch, mask: (sums(batch, mask), norm._moments(batch, mask))[1]
    elif what == "reward scale":
        largest = ranks.largest
        learner.return_scale._ranks = cast(Ranks, SimpleNamespace(largest=lambda x: largest(x).mul_(1.001)))
    elif what == "a weight":
        learner.algorithm.actor.flat.view(-1)[0] += 1e-7


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("temperature", "temperature_adam.exp_avg, temperature_adam.exp_avg_sq, log_alpha"),
        ("statistics", "norm.mean, norm.var, norm.count"),
        ("reward scale", "return_scale.largest"),
        ("a weight", "actor.0.weight"),
    ],
)
def test_a_rank_that_drifts_away_ends_the_run_at_the_next_log_line(what: str, named: str, tmp_path: Path) -> None:
    """Both processes, told once and by name; up to the log line before it all was well."""
    path = tmp_path / "run"
    config = small("sac", **{**SETTINGS, "run_dir": path, "eval": {"final_episodes": 0, "every": 0}})
    sys.argv = ["mjxrl-train"]

    def work() -> int:
        if command.torchrun.place().rank == 1:
            observe, calls = Learner.observe, iter(range(10**6))

            def from_the_twelfth_step(self: Learner, result: StepResult) -> None:
                if next(calls) == 11:
                    sabotage(what, self, self.norm._ranks)
                observe(self, result)

            Learner.observe = from_the_twelfth_step
        command.parse_config = lambda argv: config  # type: ignore[assignment]
        return command.main()

    first, second = together(path.with_suffix(".log"), work)
    assert (first.status, second.status) == (1, 1), (first, second)
    errors = [line for line in first.said.splitlines() if line.startswith("error: ")]
    told = "error: the ranks no longer hold the same learner: at 160 steps they differ in "
    assert len(errors) == 1 and errors[0].startswith(told) and second.said == ""
    assert named in errors[0] and "Traceback" not in first.said
    assert [row["step"] for row in rows_of(path)] == ["80"] and not checkpoint.steps_saved(path)


def test_what_one_is_refused_is_refused_in_one_line(tmp_path: Path) -> None:
    """And the folder is gone again."""
    path = tmp_path / "run"
    config = small("td3", **{**SETTINGS, "run_dir": path})
    sys.argv = ["mjxrl-train"]

    def work() -> int:
        if command.torchrun.place().rank == 1:
            meeting.PATIENCE = 0.2
            meeting._mark = lambda path: None  # as on a node with a disk of its own
        command.parse_config = lambda argv: config  # type: ignore[assignment]
        return command.main()

    first, second = together(path.with_suffix(".log"), work)
    assert (first.status, second.status) == (2, 2), (first, second)
    assert first.said.startswith(f"error: --run-dir {path}: allowed: a folder that all nodes share: rank 1")
    assert first.said.count("\n") == 1 and second.said == "" and not path.exists()


@pytest.mark.parametrize("what", ["options", "torch 1.0"])
def test_ranks_that_differ_are_refused_by_name(what: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    sys.argv = ["mjxrl-train"]

    def work() -> int:
        rank, found = command.torchrun.place().rank, meeting.versions.versions()
        seed = rank if what == "options" else 0
        if rank == 1 and what != "options":
            meeting.versions.versions = lambda: {**found, "torch": "1.0"}
        command.parse_config = lambda argv: small("td3", **{**SETTINGS, "run_dir": path, "seed": seed})  # type: ignore[assignment]
        return command.main()

    first, second = together(path.with_suffix(".log"), work)
    assert (first.status, second.status) == (2, 2) and first.said.count("\n") == 1
    assert first.said.startswith(f"error: torchrun: {what} ") and "on rank 1" in first.said
    assert second.said == "" and not path.exists()


class Driver:
    """Of a machine with one NVIDIA GPU."""

    def cuInit(self, flags: int) -> int:  # noqa: N802 (CUDA's name, as those below)
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = int(os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("0", "GPU-aa"))
        return 0

    def cuDeviceGetUuid(self, uuid: Any, device: int) -> int:  # noqa: N802
        uuid.raw = b"the only GPU    "
        return 0


TOO_MANY = "--nproc-per-node up to the number of GPUs"


@pytest.mark.parametrize(
    ("device", "visible", "said"),
    [
        ("cuda", None, "--device cuda: allowed: auto, cpu on this machine, because the NVIDIA driver sees no GPU for "),
        ("auto", None, f"torchrun: device cpu on rank 1, cuda on rank 0: allowed: {TOO_MANY}, or --device cpu"),
        ("cuda", "0", f"torchrun: ranks 0 and 1 have the same GPU: allowed: {TOO_MANY}"),
        ("auto", "GPU-aa", f"torchrun: ranks 0 and 1 have the same GPU: allowed: {TOO_MANY}"),
    ],
)
def test_more_processes_than_gpus_are_refused_in_one_line(
    device: str, visible: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    config = small("td3", **{**SETTINGS, "run_dir": path, "device": device})
    sys.argv = ["mjxrl-train"]

    def work() -> int:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        os.environ.update({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
        devices._cuda_driver = lambda: cast(Any, Driver())
        devices.versions.installed = lambda *names: "2.13.0+cu130"
        launching.prepare = lambda config, machine: cast(Any, None)
        command.parse_config = lambda argv: config  # type: ignore[assignment]
        return command.main()

    first, second = together(path.with_suffix(".log"), work)
    assert (first.status, second.status) == (2, 2), (first, second)
    assert first.said.startswith(f"error: {said}") and first.said.count("\n") == 1, first.said
    assert ("for local rank 1 of 2: as many processes" in first.said) == said.endswith("for ")
    assert second.said == "" and not path.exists()


def test_the_first_one_compiles_before_the_others(tmp_path: Path) -> None:
    """What the step is asked for compiles it: the others come when the first has it, which may leave it in a cache."""
    path, compiled = tmp_path / "run", tmp_path / "compiled"
    config = small("td3", **{**SETTINGS, "run_dir": path, "total_steps": 80})

    def work() -> int:
        rank = command.torchrun.place().rank

        def program_bytes(self: VectorEnv) -> None:
            if rank == 0:
                time.sleep(0.2)
                compiled.touch()
            (tmp_path / f"found.{rank}").write_text(str(compiled.exists()))

        VectorEnv.program_bytes = program_bytes
        return launch(config)

    all_well(together(path.with_suffix(".log"), work))
    assert (tmp_path / "found.1").read_text() == "True"


def test_one_process_meets_nobody(tmp_path: Path) -> None:
    """No group, no sum, no vote: torch.distributed is not called at all."""
    config = small("sac", **{**SETTINGS, "run_dir": tmp_path / "run", "total_steps": 160})

    def work() -> int:
        for name in ("init_process_group", "all_reduce", "all_gather", "new_group", "destroy_process_group"):
            setattr(torch.distributed, name, None)
        return launch(config)

    ended = Process(tmp_path / "log", work).wait()
    assert ended.status == 0, ended
