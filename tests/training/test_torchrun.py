"""Under torchrun itself: a run from the command line, one that is killed and starts again by itself, and refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mjxrl.cli.parse import parse_config
from mjxrl.cli.program import COMMANDS, main
from mjxrl.storage import checkpoint
from tests.helpers.processes import gone

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--env Pendulum-v1 --algo sac --num-envs 8 --learner.batch-size 32 --learner.warmup-steps 64 --log.every 160 "
    "--learner.updates-per-step 1 --learner.actor-hidden 16 --learner.critic-hidden 16 --learner.no-compile "
    "--eval.every 0 --eval.final-episodes 1 --checkpoint.every 160"
)


def torchrun(folder: Path, script: str, flags: list[str], *options: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX")}
    env |= {"PYTHONPATH": str(ROOT), "TORCHELASTIC_ERROR_FILE": str(folder / "error.json")}
    command = [*launcher, str(ROOT / "scripts" / script), *flags]
    return subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_run_whose_process_is_killed_goes_on_by_itself(tmp_path: Path) -> None:
    """From its last checkpoint, once, and to the end; its score is that of one policy."""
    flags = [*FLAGS.split(), "--total-steps", "2400", "--run-dir", "run"]
    process = torchrun(tmp_path, "train.py", flags, "--max-restarts", "1")
    run, end = tmp_path / "run", time.monotonic() + 200
    while not checkpoint.steps_saved(run):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "2 ranks, each 4 of 8 worlds" in output and "resumed at " in output
    assert output.count("trained policy:") == 1 and gone(workers)
    assert checkpoint.steps_saved(run)[0] == 2400
    assert checkpoint.read_manifest(run, "latest", {})["ranks"] == 2


TWENTY_RUNS = """
import os, socket, sys
import matplotlib.figure, torch.utils.tensorboard
import mjxrl.physics.native, mjxrl.training.launch
from mjxrl.cli import train
from mjxrl.machine.torchrun import on_one_machine

for run in range(20):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        places = on_one_machine(2, free.getsockname()[1])
    pids = []
    for place in places:
        pids.append(os.fork())
        if pids[-1] == 0:
            os.environ.update(place)
            sys.argv = ["mjxrl-train", *sys.argv[1:], "--run-dir", f"run-{run}"]
            sys.exit(train.main())  # through the interpreter's end, which is what is tested
    print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), file=sys.stderr)
"""


@pytest.mark.slow
def test_twenty_runs_in_a_row_end_well(tmp_path: Path) -> None:
    """A process that still held a group would abort after all was done, now and then."""
    flags = [*FLAGS.split(), "--eval.final-episodes", "0", "--total-steps", "160", "--device", "cpu"]
    command = [sys.executable, "-c", TWENTY_RUNS, *flags]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True
    )
    assert (done.returncode, done.stderr.splitlines()) == (0, ["0 0"] * 20), done.stderr
    assert all((tmp_path / f"run-{run}" / "checkpoints" / "step_160").is_dir() for run in range(20))


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(word) for file in listed for word in file.read_text().split())


def told(monkeypatch: pytest.MonkeyPatch, **env: object) -> None:
    place = {"RANK": 0, "WORLD_SIZE": 3, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 3}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1, **env}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        ("--num-envs 8 --learner.batch-size 96", {}, "--num-envs 8: allowed: a multiple of the 3 processes"),
        ("--num-envs 9 --learner.batch-size 64", {}, "--learner.batch-size 64: allowed: a multiple of the 3 processes"),
        ("--num-envs 9 --learner.batch-size 96 --learner.graphs", {}, "--learner.graphs true: allowed: --learner.no-"),
        (
            "--num-envs 9 --learner.batch-size 96",
            {"TORCHELASTIC_MAX_RESTARTS": 2},
            "torchrun --max-restarts 2: allowed: with --run-dir or --resume",
        ),
    ],
)
def test_what_several_cannot_share_is_refused_in_one_line_by_one_of_them(
    flags: str,
    env: dict[str, object],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--env", "Pendulum-v1", "--device", "cpu", *flags.split()]
    assert parse_config(words).num_envs in (8, 9)  # in one process it is fine
    for rank in range(3):
        told(monkeypatch, RANK=rank, LOCAL_RANK=rank, **env)
        with pytest.raises(SystemExit) as stop:
            parse_config(words)
        errors = capsys.readouterr().err
        assert stop.value.code == 2
        if rank:
            assert errors == ""
        else:
            assert errors.startswith(f"error: {said}") and errors.count("\n") == 1


@pytest.mark.parametrize("program", [name for name in COMMANDS if name != "train"])
def test_other_programs_are_for_one_process(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in range(2):
        told(monkeypatch, RANK=rank, LOCAL_RANK=rank)
        monkeypatch.setattr(sys, "argv", ["mjxrl", program, *["--seeds", "2"] * (program == "seeds")])
        with pytest.raises(SystemExit) as stop:
            main()
        line = f"error: mjxrl-{program}: allowed: in one process; torchrun is for mjxrl-train\n"
        assert (stop.value.code, capsys.readouterr().err) == (2, "" if rank else line)


def test_a_restart_goes_on_with_the_very_run_that_was_started_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mjxrl.storage import run_dir

    monkeypatch.chdir(tmp_path)
    words = [
        "--env",
        "Pendulum-v1",
        "--device",
        "cpu",
        "--num-envs",
        "9",
        "--learner.batch-size",
        "96",
        "--run-dir",
        "run",
    ]
    told(monkeypatch, TORCHELASTIC_MAX_RESTARTS=3)
    config = parse_config(words)
    run = run_dir.create(config)
    run_dir.note(run, config, {})
    told(monkeypatch, TORCHELASTIC_RESTART_COUNT=1)
    (run / "checkpoints" / "step_90").mkdir(parents=True)
    assert parse_config(words).resume == run
    with pytest.raises(SystemExit):  # another run's folder
        parse_config([*words, "--seed", "5"])
    assert (
        "--run-dir run: allowed: a folder that is empty" in capsys.readouterr().err and (run / "config.json").exists()
    )
    (run / "checkpoints" / "step_90").rmdir()
    assert parse_config(words).resume is None and not run.exists()  # nothing was saved: it begins again
