"""What mjxrl finds on this machine, and the commands that bring what it does not; imports neither jax nor torch."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from mjxrl.errors import UnavailableError
from mjxrl.machine import devices, graphics, settings, threads, versions
from mjxrl.training import budget

GIB = 2**30


class Finding(NamedTuple):
    """One thing that was looked for."""

    name: str
    found: str
    """What is there, in words; empty: nothing."""
    remedy: str = ""
    """What to do about that, if anything can be done."""


def findings() -> list[Finding]:
    """Processor, memory, packages, OpenGL, compilers and caches of this machine, in the order to read them."""
    return [*_processors(), *_packages(), *_tools(), *_caches()]


def lacking(requirement: str) -> list[str]:
    """What is not installed of the distributions that `requirement`, such as "gymnasium[box2d]", asks for."""
    asked = Requirement(requirement)
    if versions.installed(asked.name) is None:
        return [asked.name]
    wanted = (each for extra in sorted(asked.extras) for each in _extra(asked.name, extra))
    return [*dict.fromkeys(name for each in wanted for name in lacking(each))]


def _extra(package: str, extra: str) -> list[str]:
    """What an installed distribution requires for one of its extras, on this machine."""
    parsed = map(Requirement, metadata.requires(package) or [])
    return [
        f"{each.name}[{','.join(each.extras)}]" if each.extras else each.name
        for each in parsed
        if each.marker and each.marker.evaluate({"extra": extra}) and not each.marker.evaluate({"extra": ""})
    ]


def _processors() -> Iterator[Finding]:
    share = threads.split_threads(threads.available_cores(), "native", "cpu")
    yield Finding("CPU", f"{devices.device_name('cpu')}; by rule {share.physics} for physics, {share.learner} to learn")
    free = budget.free_bytes("cpu")
    yield Finding("free memory", f"{free / GIB:.1f} GiB" if math.isfinite(free) else "not known on this system")
    problem = devices.cuda_problem()
    yield Finding("GPU", "" if problem else devices.device_name("cuda"), f"not used: {problem}" if problem else "")
    if smi := shutil.which("nvidia-smi"):
        query = [smi, "--query-gpu=driver_version,memory.free", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
        yield Finding("driver, free", "; ".join(said))
    for backend in ("native", "jax", "warp"):
        device = "cpu" if problem else "cuda"
        try:
            devices.resolve_backend(backend, device)
            yield Finding(f"--backend {backend}", f"on {'cpu' if backend == 'native' else device}")
        except UnavailableError as error:
            yield Finding(f"--backend {backend}", "", str(error).rpartition(": ")[2])


def _packages() -> Iterator[Finding]:
    for name, version in versions.versions().items():
        yield Finding(name, version)
    if not versions.installed("mjxrl"):
        yield Finding("mjxrl", "a checkout, not installed", "pip install -e .")
        return
    for extra in metadata.metadata("mjxrl").get_all("Provides-Extra", []):
        missing = lacking(f"mjxrl[{extra}]")
        remedy = f"pip install 'mjxrl[{extra}]' ({', '.join(missing)})" if missing else ""
        yield Finding(f"extra {extra}", "" if missing else "installed", remedy)


def _tools() -> Iterator[Finding]:
    problem = graphics.problem()
    yield Finding("OpenGL", "" if problem else os.environ.get("MUJOCO_GL", "of the system"), problem or "")
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", "c++"), "g++", "clang++", "cl"])), "")
    remedy = {"linux": "apt install g++", "darwin": "xcode-select --install"}.get(sys.platform, "Visual Studio's C++")
    yield Finding("C++ compiler", compiler, "" if compiler else f"{remedy}, for --learner.compile on a CPU")


def _caches() -> Iterator[Finding]:
    cache = settings.cache_dir()
    if cache is None:
        yield Finding("cache", "", "XDG_CACHE_HOME=/a/folder/of/yours, else every run compiles anew")
    else:
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        yield Finding("cache", f"{cache}, {size / GIB:.2f} GiB")
    free = shutil.disk_usage(Path(tempfile.gettempdir())).free, shutil.disk_usage(Path.cwd()).free
    yield Finding("free disk", f"{free[1] / GIB:.1f} GiB here, {free[0] / GIB:.1f} GiB for temporary files")
