"""What the processes of a run must have in common before they train together, and who of them speaks."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

from mjxrl.config import Config
from mjxrl.errors import RunError
from mjxrl.machine import devices, versions
from mjxrl.machine.devices import Machine
from mjxrl.machine.ranks import Ranks
from mjxrl.storage import run_dir
from mjxrl.storage.files import digest, saving
from mjxrl.storage.run_dir import CONFIG, options_of

ENOUGH_GPUS = "--nproc-per-node up to the number of GPUs"
PATIENCE = 10.0  # seconds in which a network's file system must show what another node wrote


@contextmanager
def one_speaks(ranks: Ranks) -> Iterator[None]:
    """What is printed in the block is printed once, by the first rank."""
    if ranks.leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def confirm_alike(ranks: Ranks, config: Config, machine: Machine) -> None:
    """Make sure that all ranks have the same versions, device, backend and options, and each on a GPU its own.

    Raises:
        RunError: they have not; the message says which one differs, and in what.
    """
    if ranks.size == 1:
        return
    packages = {name: number for name, number in versions.versions().items() if name != "platform"}
    options = {"backend": machine.backend, "options": digest(options_of(config))}
    first, *others = ranks.gathered({"device": machine.device, **packages, **options})  # what decides most comes first
    for rank, other in enumerate(others, 1):
        for name in dict.fromkeys([*first, *other]):
            one, another = first.get(name, "none"), other.get(name, "none")
            allowed = "the same on all" if name != "device" else f"{ENOUGH_GPUS}, or --device cpu"
            if one != another:
                raise RunError(f"torchrun: {name} {another} on rank {rank}, {one} on rank 0: allowed: {allowed}")
    if machine.device == "cuda":
        gpus = ranks.gathered([socket.gethostname(), devices.gpu_uuid()])
        for rank, gpu in enumerate(gpus):
            if gpu in gpus[:rank]:
                raise RunError(
                    f"torchrun: ranks {gpus.index(gpu)} and {rank} have the same GPU: allowed: {ENOUGH_GPUS}"
                )


def confirm_all_see(ranks: Ranks, path: Path) -> None:
    """Make sure that the run's folder, which the first rank has written to, is the same one for all.

    Raises:
        RunError: a rank, as on a node with a disk of its own, does not see what is in it.
    """
    if ranks.size == 1:
        return
    written = ranks.from_first(_mark(path))
    with ranks.together():
        end = time.monotonic() + PATIENCE
        while _mark(path) != written:
            if time.monotonic() > end:
                raise RunError(
                    f"--run-dir {path}: allowed: a folder that all nodes share: rank {ranks.rank} on "
                    f"{socket.gethostname()} does not see what rank 0 wrote there"
                )
            time.sleep(0.1)


@contextmanager
def folder(config: Config, machine: Machine, ranks: Ranks) -> Iterator[tuple[Path, list[str]]]:
    """The run's folder, held while the block runs, and what the user should know about it; the first rank makes it.

    Raises:
        RunError: it is in use or not empty, or a rank does not see it.
    """
    with ExitStack() as opened:
        with ranks.together():
            path = config.resume or (run_dir.create(config) if ranks.leads else Path())
        path, remarks = Path(ranks.from_first(str(path))), []
        with ranks.together():
            if ranks.leads:
                remarks = opened.enter_context(run_dir.locked(path))
        opened.enter_context(leaving_nothing_if_refused(path, new=not config.resume and ranks.leads))
        if ranks.leads:
            with saving():
                run_dir.note(path, config, machine.described())
        confirm_all_see(ranks, path)
        yield path, remarks


@contextmanager
def leaving_nothing_if_refused(path: Path, *, new: bool) -> Iterator[None]:
    """Take the folder of a new run away if the block fails before anything was learned: the next try wants its name."""
    try:
        yield
    except Exception:
        metrics = path / "metrics.csv"
        if new and not (metrics.exists() and metrics.stat().st_size) and not (path / "checkpoints").exists():
            shutil.rmtree(path, ignore_errors=True)
        raise


def introduction(ranks: Ranks, config: Config) -> list[str]:
    """What each of several ranks does of the run."""
    if ranks.size == 1:
        return []
    share = config.share(ranks.size)
    return [
        f"{ranks.size} ranks, each {share.num_envs} of {config.num_envs} worlds, {share.learner.batch_size} of "
        f"{config.learner.batch_size} transitions per update, {share.replay.capacity} of {config.replay.capacity} in "
        "the replay"
    ]


def _mark(path: Path) -> str | None:
    try:
        return hashlib.sha256((path / CONFIG).read_bytes()).hexdigest()
    except OSError:
        return None
