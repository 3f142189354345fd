"""Checkpoints: folders of safetensors and a JSON manifest with their hashes, whole or absent, never unpickled.

    checkpoints/step_<n>/      learner, worlds, counters, and (only in the newest) the replay
    checkpoints/best_<n>/      the learner alone, at its best evaluation

Where several ranks train together, the first one's files have these names, and rank r's are `trainer.<r>`, `env.<r>`,
`replay.<r>` and, of what only its worlds have, `learner.<r>`. The first one renames, once all files are there.

"latest" is the one with the most steps, "best" the one with the highest return: what is copied, zipped or put on a disk
without links stays what it was. A folder is written under another name, forced to the disk and renamed, so that
whatever interrupts a writer leaves what was there before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from mjxrl.errors import CheckpointError
from mjxrl.machine.ranks import ALONE, Ranks
from mjxrl.storage import tensor_file
from mjxrl.storage.files import digest, replace, sync_folder, write_atomically
from mjxrl.storage.tensor_file import Stream

T = TypeVar("T")

FORMAT = 1
MANIFEST = "manifest.json"
LEARNER = "learner"  # the first rank's has what all have in common
REPLAY = "replay"  # the one file that a checkpoint may go without

Tensors = Mapping[str, Mapping[str, Tensor | Stream]]  # file name to its tensors, on the CPU


class Saved(NamedTuple):
    """What a checkpoint holds."""

    manifest: dict[str, Any]
    files: dict[str, dict[str, Tensor]]


def save(
    run_dir: Path, step: int, tensors: Tensors, info: Mapping[str, Any], kind: str = "step", ranks: Ranks = ALONE
) -> Path:
    """Write `checkpoints/<kind>_<step>`, and clear away what an interrupted writer left.

    Args:
        step: transitions collected so far.
        tensors: for each file to write, in this order, its tensors by name, on the CPU.
        info: what else to note in the manifest (task, algorithm, …), in terms of JSON; of the best its `return`.
        kind: "step" or "best".
        ranks: who write it, each its own tensors under names of its own; all call this, each on one thread.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there before is untouched.
        PeerError: another rank is gone.
    """
    folder, name = run_dir / "checkpoints", f"{kind}_{step}"
    while kind == "best" and (folder / name).exists():
        name += "_again"  # a resumed run comes by its best once more: the one that is there stays whole meanwhile
    final, aside = folder / name, folder / f".{name}.tmp"

    def begin() -> None:
        if ranks.leads:
            for left in folder.glob(".*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            aside.mkdir(parents=True)

    def write() -> dict[str, str]:
        aside.mkdir(exist_ok=True)  # a network's file system may show it late
        own = {ranks.own(file): content for file, content in tensors.items()}
        return {file: tensor_file.write(_file(aside, file), content) for file, content in own.items()}

    def end(hashes: dict[str, str]) -> None:
        if ranks.leads:
            manifest = {"format": FORMAT, "step": step, **info, "sha256": hashes}
            manifest["manifest_sha256"] = digest(manifest)
            write_atomically(aside / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
            shutil.rmtree(final, ignore_errors=True)
            replace(aside, final)

    try:
        _on_all(ranks, begin)
        hashes = {file: sha256 for own in _on_all(ranks, write) for file, sha256 in own.items()}
        _on_all(ranks, partial(end, hashes))
    except OSError:
        if ranks.leads:
            shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder)
    return final


def _on_all(ranks: Ranks, work: Callable[[], T]) -> list[T]:
    """What `work` gives on every rank, in terms of JSON; an OSError on one of them is raised on all."""
    given, failed = None, None
    try:
        given = work()
    except OSError as error:
        failed = error
    found = ranks.exchange([given, failed and str(failed)])
    if failed:
        raise failed
    for problem in (problem for _, problem in found if problem):
        raise OSError(problem)
    return [given for given, _ in found]


def prune(run_dir: Path, newest: int, keep: int) -> None:
    """Remove all but the `keep` checkpoints up to that of step `newest`, just written, and every replay but its own.

    Later steps go too: a run that makes a checkpoint before them was resumed from an earlier one, as they were damaged.
    """
    folder, saved = run_dir / "checkpoints", steps_saved(run_dir)
    older = [step for step in saved if step < newest]
    for step in older[: keep - 1]:
        _remove_replays(folder / f"step_{step}")
    for step in [*older[keep - 1 :], *(step for step in saved if step > newest)]:
        _remove(folder / f"step_{step}")
    for link in ("latest", "best"):  # of runs begun when these were links; copying some made folders of them
        _remove(folder / link)


def drop_replays(run_dir: Path) -> None:
    """Remove the replay of every checkpoint: resumed from one, a run refills it first."""
    for path in (run_dir / "checkpoints").glob("step_*"):
        _remove_replays(path)


def prune_best(run_dir: Path) -> None:
    """Remove all but the best `best`."""
    best = _name(run_dir, "best")
    for path in (run_dir / "checkpoints").glob("best_*"):
        if path.name != best:
            _remove(path)


def steps_saved(run_dir: Path) -> list[int]:
    """Steps of the checkpoints of a run, newest first."""
    names = (path.name.removeprefix("step_") for path in (run_dir / "checkpoints").glob("step_*"))
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def read(
    run_dir: Path,
    which: str,
    expect: Mapping[str, Any],
    files: Collection[str] | None = None,
    ranks: Ranks = ALONE,
) -> Saved:
    """The checkpoint `which` ("latest", "best", or "step_<n>"), of whose files each is read once and checked.

    Args:
        expect: entries that its manifest must have, such as the task's id.
        files: those to read; None: all that this one of the `ranks` goes on from, the replay only if it is still there.
        ranks: who read it; one that another number of ranks wrote has only the learner for them.

    Raises:
        CheckpointError: it is missing, damaged, of an unknown format or of another task.
    """
    name = _name(run_dir, which)
    try:
        manifest, path = read_manifest(run_dir, name, expect), run_dir / "checkpoints" / name
        if files is None:
            files = _files_of(manifest, path, ranks)
        found: dict[str, dict[str, Tensor]] = {}
        for file in files:
            whole = file.partition(".")[0]  # without the rank
            found[whole] = found.get(whole, {}) | _read(path, file, manifest)
        return Saved(manifest, found)
    except CheckpointError:
        if _name(run_dir, which) == name:
            raise
    return read(run_dir, which, expect, files, ranks)  # a run that goes on has replaced it meanwhile


def _files_of(manifest: Mapping[str, Any], path: Path, ranks: Ranks) -> list[str]:
    if manifest.get("ranks", 1) != ranks.size:
        return [LEARNER]
    replay = ranks.own(REPLAY)
    own = {LEARNER, *(ranks.own(file.partition(".")[0]) for file in manifest["sha256"])}
    return [file for file in manifest["sha256"] if file in own and (file != replay or _file(path, replay).exists())]


def read_manifest(run_dir: Path, which: str, expect: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a checkpoint; arguments and errors as of `read`."""
    path = run_dir / "checkpoints" / _name(run_dir, which)
    if not path.is_dir():
        present = ", ".join(f"step_{step}" for step in steps_saved(run_dir)) or "none, nothing was saved there"
        raise CheckpointError(f"{run_dir} has no checkpoint {which!r}: allowed: {present}")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        format_, expected = manifest["format"], manifest.pop("manifest_sha256", None)
        if not isinstance(manifest["sha256"], dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} is missing or unreadable") from None
    if format_ != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {format_!r}: allowed: {FORMAT}")
    if expected not in (None, digest(manifest)):  # the first runs noted none
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} was altered")
    for name, value in expect.items():
        if manifest.get(name) != value:
            raise CheckpointError(f"checkpoint {path} has {name} {manifest.get(name)!r}: allowed: {value!r}")
    return manifest


def load(run_dir: Path, which: str, file: str, expect: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one file of the checkpoint `which`; arguments and errors as of `read`."""
    return read(run_dir, which, expect, [file]).files[file]


def _name(run_dir: Path, which: str) -> str:
    """The folder of "latest" or "best", as things stand; any other name, and that of none, stays as it is."""
    if which == "latest":
        return next((f"step_{step}" for step in steps_saved(run_dir)), which)
    if which == "best":
        return max(_bests(run_dir), default=((0.0, 0.0), which))[1]
    return which


def rank_of(noted: Any) -> tuple[float, float]:
    """What a policy is compared by, share of successes and mean return, from a manifest; older ones have the return."""
    return tuple(noted) if isinstance(noted, list) else (0.0, noted)


def _bests(run_dir: Path) -> Iterator[tuple[tuple[float, float], str]]:
    """The rank and the folder of each `best` that can be read."""
    for path in (run_dir / "checkpoints").glob("best_*"):
        with suppress(CheckpointError, KeyError):
            yield rank_of(read_manifest(run_dir, path.name, {})["return"]), path.name


def _remove_replays(path: Path) -> None:
    for file in path.glob(f"{REPLAY}*.safetensors"):
        _remove(file)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, or leave it till next time: on Windows nothing goes that somebody reads."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _file(path: Path, file: str) -> Path:
    return path / f"{file}.safetensors"


def _read(path: Path, file: str, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        return tensor_file.read(_file(path, file), manifest["sha256"].get(file))
    except OSError:
        raise CheckpointError(f"checkpoint {path} is damaged: {file}.safetensors is missing") from None
    except ValueError:
        raise CheckpointError(f"checkpoint {path} is damaged: {file}.safetensors is truncated or was altered") from None
