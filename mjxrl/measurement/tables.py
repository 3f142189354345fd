"""The report for a reader: one table per number of worlds, then start-up, sampling and the scaling curve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

# unit, and the factor from the report's figure to it
_PER_S, _RATIO, _SHARE = ("/s", 1.0), ("", 1.0), ("%", 100.0)
_MS, _US = ("ms", 1e3), ("µs", 1e6)
_GFLOPS, _GBS, _GIB, _BYTES = ("GFLOP/s", 1e-9), ("GB/s", 1e-9), ("GiB", 2.0**-30), ("bytes", 1.0)

_ROWS: dict[str, tuple[str, tuple[str, float]]] = {
    "physics.bare.env_steps_per_s": ("physics: bare loop, env-steps", _PER_S),
    "physics.vector_env.env_steps_per_s": ("physics: vector env, env-steps", _PER_S),
    "physics.vector_env_against_bare": ("physics: vector env / bare loop", _SHARE),
    "learner.updates_per_s": ("learner: updates", _PER_S),
    "learner.flop_per_s": ("learner: matrix products", _GFLOPS),
    "learner.matmul_flop_per_s": ("learner: a large product alone", _GFLOPS),
    "learner.share_of_matmul": ("learner: share of that", _SHARE),
    "learner.sampled_bytes_per_s": ("learner: sampling", _GBS),
    "learner.copy_bytes_per_s": ("learner: a large copy", _GBS),
    "learner.share_of_bandwidth": ("learner: share of that", _SHARE),
    "learner.sampling_share_of_update": ("learner: sampling / update", _SHARE),
    "end_to_end.env_steps_per_s": ("training: env-steps", _PER_S),
    "end_to_end.updates_per_s": ("training: updates", _PER_S),
    "end_to_end.iteration_s": ("training: iteration", _MS),
    "end_to_end.physics_s": ("training: physics alone", _MS),
    "end_to_end.learner_s": ("training: updates alone", _MS),
    "end_to_end.against_longer_half": ("training: iteration / longer half", _RATIO),
    "end_to_end.against_sum": ("training: iteration / their sum", _RATIO),
    "end_to_end.in_turn_s": ("training: in turn on all threads", _MS),
    "end_to_end.side_by_side_s": ("training: side by side", _MS),
    "end_to_end.against_better_of_both": ("training: iteration / better of both", _RATIO),
    "end_to_end.processor_s": ("training: processor time", _MS),
    "end_to_end.host_s": ("training: host time", _MS),
    "end_to_end.share_without_kernel": ("training: no kernel running", _SHARE),
    "end_to_end.kernels_per_iteration": ("training: kernels per iteration", _RATIO),
    "memory.bytes_per_transition": ("memory: a transition", _BYTES),
    "memory.two_copies_bytes_per_transition": ("memory: with two copies of obs", _BYTES),
    "memory.against_two_copies": ("memory: share of that", _SHARE),
    "memory.replay_bytes": ("memory: replay", _GIB),
    "memory.peak_rss_bytes": ("memory: peak RSS", _GIB),
    "memory.peak_torch_bytes": ("memory: peak of torch on the device", _GIB),
    "memory.peak_jax_bytes": ("memory: peak of jax on the device", _GIB),
}
_SCALING: dict[str, tuple[str, tuple[str, float]]] = {
    "num_envs": ("worlds", _RATIO),
    "updates_per_step": ("updates", _RATIO),
    "bare_env_steps_per_s": ("bare", _RATIO),
    "vector_env_env_steps_per_s": ("vector env", _RATIO),
    "env_steps_per_s": ("training", _RATIO),
    "updates_per_s": ("updates/s", _RATIO),
    "against_longer_half": ("/ longer half", _RATIO),
}


_RANKS: dict[str, tuple[str, tuple[str, float]]] = {
    "single.iteration_s": ("iteration: one process by itself", _MS),
    "separate.iteration_s": ("iteration: separate runs at once", _MS),
    "together.iteration_s": ("iteration: one run on all", _MS),
    "single.processor_s": ("processor time: one process by itself", _MS),
    "separate.processor_s": ("processor time: separate runs, each", _MS),
    "together.processor_s": ("processor time: one run, each process", _MS),
    "weak_scaling_by_processor_time": ("weak scaling by processor time: separate / together", _RATIO),
    "weak_scaling_by_time": ("weak scaling by time: separate / together", _RATIO),
    "together.sums": ("sums per iteration", _RATIO),
    "together.bytes": ("bytes summed per iteration", ("MB", 1e-6)),
    "share_in_sums": ("share of an iteration in sums, waiting included", _SHARE),
    "share_of_processor_time_in_sums": ("share of processor time in sums", _SHARE),
}


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the report."""
    console.print(f"{report['device']}, {report['cores']} cores; " + ", ".join(
        f"{name} {report['versions'][name]}" for name in ("torch", "jax", "mujoco") if name in report["versions"]
    ))  # fmt: skip
    console.print(f"medians of {report['repeats']} interleaved repeats, smallest and largest in brackets")
    if report.get("startup"):
        console.print(_startup(report["startup"]))
    for found in report["worlds"]:
        console.print(_worlds(found))
    if report.get("sampling"):
        console.print(_sampling(report["sampling"]))
    for table in _ranks(report["ranks"]) if report.get("ranks") else ():
        console.print(table)
    if report.get("scaling"):
        table = Table(
            *(title for title, _ in _SCALING.values()),
            title="scaling: updates per step; env-steps/s of bare physics, vector env and training",
        )
        for row in report["scaling"]:
            table.add_row(*(_number(row[name]) if name in row else "" for name in _SCALING))
        console.print(table)
    for failure in report["failures"]:
        console.print(f"not measured: {failure['what']}: {failure['why']}")


def _worlds(found: Mapping[str, Any]) -> Table:
    threads = f"threads: {found['threads']['physics']} physics, {found['threads']['learner']} learner"
    title = f"{found['num_envs']} worlds, {found['backend']}, preset {found['preset']}, {threads}"
    table = Table("", "median", "range", title=title)
    for path, (label, unit) in _ROWS.items():
        value = _at(found, path.split("."))
        if value is not None:
            table.add_row(label, *_cells(value, unit))
    return table


def _startup(found: Mapping[str, Any]) -> Table:
    table = Table("start-up", *(f"{state}, s" for state in found))
    for part in found["cold"]:
        cells = [" ".join(_cells(found[state][part], _RATIO)) for state in found]
        table.add_row(part.removesuffix("_s").replace("_", " "), *cells)
    return table


def _sampling(found: Mapping[str, Any]) -> Table:
    table = Table("transitions stored", "sampling for an update", "", title=f"sampling, batch {found['batch_size']}")
    for capacity, seconds in found["sample_s"].items():
        table.add_row(f"{int(capacity):,}", *_cells(seconds, _US))
    for capacity, why in found["skipped"].items():
        table.add_row(f"{int(capacity):,}", "skipped", why)
    if "largest_against_smallest" in found:
        table.add_row("largest / smallest", *_cells(found["largest_against_smallest"], _RATIO))
    return table


def _ranks(found: Mapping[str, Any]) -> Iterator[Table]:
    each = f"each {found['num_envs']} worlds, batch {found['batch_size']}, {found['updates_per_step']} updates"
    table = Table("", "median", "range", title=f"{found['size']} processes, {each}, preset {found['preset']}")
    for path, (label, unit) in _RANKS.items():
        table.add_row(label, *_cells(_at(found, path.split(".")), unit))
    yield table
    table = Table("preset", "gradients of", "bytes", "sum", "", "processor", title=f"sums over {found['size']} ranks")
    for row in found["all_reduce"]:
        times = *_cells(row["sum_s"], _MS), _cells(row["processor_s"], _MS)[0]
        table.add_row(f"{row['preset']} {row['algo'].upper()}", row["of"], _number(row["bytes"]), *times)
    yield table


def _at(found: Any, path: Iterable[str]) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _cells(value: Any, unit: tuple[str, float]) -> tuple[str, str]:
    """Median with its unit, and the range; a plain number has none."""
    name, factor = unit
    if not isinstance(value, Mapping):
        return f"{_number(value * factor)} {name}".rstrip(), ""
    low, high = (_number(value[end] * factor) for end in ("low", "high"))
    return f"{_number(value['median'] * factor)} {name}".rstrip(), f"({low} to {high})"


def _number(value: float) -> str:
    """Four significant digits or all whole ones."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
