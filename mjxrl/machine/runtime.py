"""Process set-up before jax is imported, and what this machine has.

jax, torch and MuJoCo read their settings from the environment once, when they start; `set_up` therefore comes first
in every program. Nothing here imports them, so that a refusal comes at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mjxrl.config.schema import BACKENDS, DEVICES

_PACKAGES = ("mjxrl", "torch", "jax", "jaxlib", "mujoco", "mujoco-mjx", "warp-lang", "gymnasium", "numpy")

# what `--backend auto` means on each device, and why
_BACKEND_FOR = {
    "cuda": ("jax", "MJX steps thousands of worlds at once on the GPU"),  # until warp has been timed beside it
    "cpu": ("native", "on a CPU, MuJoCo in C is about 20 times as fast as MJX"),
}


_set_here: dict[str, str] = {}  # settings that `set_up` made and may change again
WITHOUT_WARP = "--backend warp: allowed: jax, native without Warp: pip install 'mjxrl[warp]'"


class UnavailableError(ValueError):
    """A device or a backend was asked for that this machine lacks; the message is one line."""


class Threads(NamedTuple):
    """CPU threads of each side."""

    physics: int
    learner: int


def set_up(device: str, backend: str, *, jax_memory_fraction: float | None = None) -> None:
    """Set the environment that jax, torch and MuJoCo read when they are imported.

    Call it once, first. Settings of the user's own win, except for those that results depend on.

    Args:
        device: "cpu" or "cuda", as `resolve_device` gives it.
        backend: "jax", "warp" or "native", as `resolve_backend` gives it.
        jax_memory_fraction: the share of the GPU's memory that jax may take, at once, leaving the rest to torch;
            None: jax takes memory as it needs it and may leave it fragmented.

    Raises:
        RuntimeError: jax is already imported and would not see these settings.
    """
    fixed = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # TF32 is too coarse for contact dynamics
    if backend != "native":
        fixed["JAX_PLATFORMS"] = "cuda,cpu" if device == "cuda" else "cpu"
    elif "jax" not in sys.modules:  # it may run elsewhere in this process
        fixed["JAX_PLATFORMS"] = "cpu"
    preferred = {
        "JAX_COMPILATION_CACHE_DIR": str(cache_dir() / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",  # XLA's C++ side: errors only
    }
    if jax_memory_fraction is None:
        preferred["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    else:
        preferred["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
        if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:  # the older name, which jax takes instead, not as well
            preferred["XLA_CLIENT_MEM_FRACTION"] = f"{jax_memory_fraction:.3f}"
    if "jax" in sys.modules:
        late = [f"{name}={value}" for name, value in fixed.items() if os.environ.get(name) != value]
        late += [f"{name}={value}" for name, value in preferred.items() if name not in os.environ]
        if late:
            raise RuntimeError(f"call mjxrl.machine.settings.set_up before importing jax: it misses {', '.join(late)}")
    os.environ.update(fixed)
    for name, value in preferred.items():
        if os.environ.get(name) in (None, _set_here.get(name)):
            os.environ[name] = _set_here[name] = value
    headless = not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if sys.platform == "linux" and headless:
        os.environ.setdefault("MUJOCO_GL", "egl")  # renders without a window


def cache_dir() -> Path:
    """Where compiled programs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mjxrl"


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda": what was asked for, or for "auto" a GPU if there is a usable one.

    Raises:
        UnavailableError: "cuda" was asked for and is not there; it never falls back to the CPU.
    """
    if device not in DEVICES:
        raise UnavailableError(f"--device {device}: allowed: {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    missing = cuda_problem()
    if missing is None:
        return "cuda"
    if device == "cuda":
        raise UnavailableError(f"--device cuda: allowed: auto, cpu on this machine, because {missing}")
    return "cpu"


def resolve_backend(backend: str, device: str) -> tuple[str, str]:
    """The physics backend for a resolved device, and the reason in words.

    Raises:
        UnavailableError: jax is to run on the GPU but was installed without its CUDA plugin, or warp is missing.
    """
    if backend not in BACKENDS:
        raise UnavailableError(f"--backend {backend}: allowed: {', '.join(BACKENDS)}")
    choice, reason = _BACKEND_FOR[device] if backend == "auto" else (backend, "as asked")
    if choice == "warp" and not _installed("warp-lang"):
        raise UnavailableError(WITHOUT_WARP)
    if choice != "native" and device == "cuda" and not _installed("jax-cuda13-plugin", "jax-cuda12-plugin"):
        raise UnavailableError(
            f"--backend {backend}: allowed: native with --device cuda here, because jax has no CUDA plugin: "
            "pip install 'mjxrl[cuda]'"
        )
    return choice, reason


def cuda_problem() -> str | None:
    """Why torch could not use an NVIDIA GPU here, or None if it could; asks the driver, imports nothing large."""
    torch_version = _installed("torch")
    if torch_version is not None and torch_version.endswith("+cpu"):
        return f"the installed torch {torch_version} is a CPU build: pip install --force-reinstall 'torch>=2.11'"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    driver = _cuda_driver()
    if driver is None:
        return "no NVIDIA driver was found"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "the NVIDIA driver sees no GPU"
    return None


def confirm_torch_sees_cuda() -> None:
    """Make sure that torch can use the GPU that the driver shows.

    Raises:
        UnavailableError: it cannot; the message says what to install.
    """
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise UnavailableError(
            f"--device cuda: allowed: auto, cpu on this machine, because torch {torch.__version__}, {built}, sees no "
            "GPU while the driver does: pip install --force-reinstall 'torch>=2.11', or a newer driver"
        )


def confirm_jax_sees_cuda(backend: str) -> None:
    """Make sure that jax, which is imported now, can use the GPU that torch does.

    Raises:
        UnavailableError: it cannot; the message says what to install.
    """
    import jax

    try:
        found = jax.devices("cuda")
    except RuntimeError:
        found = []
    if not found:
        raise UnavailableError(
            f"--backend {backend}: allowed: native with --device cuda here, because jax {jax.__version__} sees no GPU "
            "while torch does: pip install 'mjxrl[cuda]'"
        )


def unused_gpu() -> str | None:
    """Why the GPU that the driver shows is not used, or None if there is none to use or nothing in the way."""
    driver, count = _cuda_driver(), ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count.value:
        return None
    return cuda_problem()


def device_name(device: str) -> str:
    """The processor's own name, such as "NVIDIA H100 80GB HBM3" or "AMD EPYC 7R13, 2 cores"."""
    if device == "cuda":
        driver, name = _cuda_driver(), ctypes.create_string_buffer(256)
        if driver is not None and driver.cuInit(0) == 0 and driver.cuDeviceGetName(name, len(name), 0) == 0:
            return name.value.decode()
        return "NVIDIA GPU"
    cores = available_cores()
    return f"{_cpu_model()}, {cores} core{'s' if cores > 1 else ''}"


def available_cores() -> int:
    """CPU cores this process may use, counting affinity and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cores


def split_threads(cores: int, backend: str, device: str) -> Threads:
    """How many CPU threads step the worlds and how many learn, by rule.

    The two overlap. On a CPU the updates take nearly all the time, so they keep the larger share, and all cores of a
    small machine; a learner on the GPU only needs a thread that launches its kernels. Beyond 16 threads the matmuls
    of small networks get no faster.
    """
    if device == "cuda":
        return Threads(physics=max(1, cores - 1), learner=1)
    if backend == "jax":  # XLA's own pool takes every core anyway
        return Threads(physics=cores, learner=max(1, cores // 2))
    physics = max(1, cores // 4)
    return Threads(physics, learner=min(16, cores if cores < 4 else cores - physics))


def set_torch_threads(learner: int) -> None:
    """Give torch's operators that many threads; call it before the first of them runs."""
    import torch

    _keep_freed_memory()
    # Huge pages for large tensors: random rows of a large replay would miss the TLB. Read at the first such tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_num_threads(learner)
    with contextlib.suppress(RuntimeError):  # torch's other pool may have started: its size is then final
        torch.set_num_interop_threads(1)


def _keep_freed_memory() -> None:
    """Let glibc keep what an update frees for the next one: several hundred page faults an update otherwise."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc, trim_threshold, mmap_threshold = ctypes.CDLL("libc.so.6"), -1, -3
            libc.mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
            libc.mallopt(trim_threshold, 256 << 20)


def mujoco_log_to(path: Path) -> None:
    """Send MuJoCo's warnings to the file `path`; by default MUJOCO_LOG.TXT would appear in the working folder.

    The file is created with the first warning. Worlds that diverge are counted and reported by the trainer, so
    nothing is printed here. The setting is the whole process's.
    """
    import mujoco

    settings = mujoco.MjLogConfig.get()
    settings.logfile = str(path.absolute())
    settings.logto_console = False
    settings.set()


def keep_mujoco_log_out_of_the_way() -> None:
    """Send MuJoCo's warnings to the cache folder, unless somebody has already said where they go."""
    import mujoco

    if mujoco.MjLogConfig.get().logfile == "MUJOCO_LOG.TXT":  # MuJoCo's default
        cache_dir().mkdir(parents=True, exist_ok=True)
        mujoco_log_to(cache_dir() / "mujoco.log")


def versions() -> dict[str, str]:
    """Versions of Python, the operating system and every package that results depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | {name: number for name in _PACKAGES if (number := _installed(name)) is not None}


def _installed(*names: str) -> str | None:
    """Version of the first of these distributions that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _cuda_driver() -> ctypes.CDLL | None:
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
