"""Which processor a run uses, and whether torch and jax can; asks the driver, imports neither."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mjxrl.errors import UnavailableError
from mjxrl.machine import backends, torchrun, versions
from mjxrl.machine.threads import BY_RULE, Threads, available_cores, split_threads

Device = Literal["auto", "cpu", "cuda"]
Backend = Literal["auto", "jax", "warp", "native", "gymnasium"]

MANY_WORLDS = 4096  # where nobody says how many
WITHOUT_WARP = "--backend warp: allowed: jax, native without MuJoCo Warp: pip install 'mjxrl[warp]'"


class Machine(NamedTuple):
    """What a run computes on."""

    device: str
    """Where replay and learner live: cpu or cuda."""
    backend: str
    """What steps the worlds: jax, warp, native or gymnasium."""
    reason: str
    """Why this backend, in words."""
    threads: Threads

    @property
    def device_name(self) -> str:
        """The processor's own name."""
        return device_name(self.device)

    def notice(self, num_envs: int, env: str) -> str | None:
        """What to tell people before programs compile, which is silent; None where there is nothing to compile."""
        if self.backend == "native":
            return None
        return (
            f"compiling the reset and the step of {num_envs} worlds of {env} for {self.backend} on {self.device}: "
            "it can take minutes, and less in the next run"
        )

    def described(self) -> dict[str, Any]:
        """What a run's config.json says of it."""
        names = {"device": self.device, "device_name": self.device_name, "backend": self.backend}
        return {**names, "reason": self.reason, "threads": self.threads._asdict()}


def resolve(
    device: str = "auto",
    backend: str = "auto",
    threads: Threads = BY_RULE,
    *,
    num_envs: int = MANY_WORLDS,
    env: str = "",
) -> Machine:
    """The machine as it was asked for, with "auto", and threads that are 0, replaced by what the rules give.

    Args:
        num_envs: worlds that are to step together.
        env: the id of their task.

    Raises:
        UnavailableError: this machine lacks the device or the backend.
    """
    kind = resolve_device(device)
    chosen, reason = resolve_backend(backend, kind, num_envs, env)
    rule = split_threads(available_cores(), chosen, kind)
    return Machine(kind, chosen, reason, Threads(threads.physics or rule.physics, threads.learner or rule.learner))


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda": what was asked for, or for "auto" a GPU if there is a usable one.

    Raises:
        UnavailableError: "cuda" was asked for and is not there; it never falls back to the CPU.
    """
    if device not in get_args(Device):
        raise UnavailableError(f"--device {device}: allowed: {', '.join(get_args(Device))}")
    if device == "cpu":
        return "cpu"
    missing = cuda_problem()
    if missing is None:
        return "cuda"
    if device == "cuda":
        raise UnavailableError(f"--device cuda: allowed: auto, cpu on this machine, because {missing}")
    return "cpu"


def resolve_backend(backend: str, device: str, num_envs: int = MANY_WORLDS, env: str = "") -> tuple[str, str]:
    """The physics backend for so many worlds of a task on a resolved device, and the reason in words.

    Raises:
        UnavailableError: jax is to run on the GPU but was installed without its CUDA plugin, or warp is missing.
    """
    if backend not in get_args(Backend):
        raise UnavailableError(f"--backend {backend}: allowed: {', '.join(get_args(Backend))}")
    choice, reason = backend, "as asked"
    if backend == "auto":
        found = backends.row(device, num_envs, env)
        choice, reason = found.backend, found.reason
    elif backend == "gymnasium":
        reason = "which --env asks for"
    if choice == "warp" and not versions.installed("mujoco-warp"):
        raise UnavailableError(WITHOUT_WARP)
    if choice == "jax" and device == "cuda" and not versions.installed("jax-cuda13-plugin", "jax-cuda12-plugin"):
        raise UnavailableError(
            f"--backend {backend}: allowed: native with --device cuda here, because jax has no CUDA plugin: "
            "pip install 'mjxrl[cuda]'"
        )
    return choice, reason


def cuda_problem() -> str | None:
    """Why torch could not use an NVIDIA GPU here, or None if it could; asks the driver, imports nothing large."""
    torch_version = versions.installed("torch")
    if torch_version is not None and torch_version.endswith("+cpu"):
        return f"the installed torch {torch_version} is a CPU build: pip install --force-reinstall 'torch>=2.11'"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    driver = _cuda_driver()
    if driver is None:
        return "no NVIDIA driver was found"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        here = torchrun.place()
        own = f" for local rank {here.local_rank} of {here.local_size}: as many processes per node as GPUs at most"
        return "the NVIDIA driver sees no GPU" + own * (here.local_size > 1)
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


def cuda_driver_version() -> int:
    """The newest CUDA that the NVIDIA driver knows, such as 13000; 0 without a driver."""
    driver, found = _cuda_driver(), ctypes.c_int(0)
    if driver is not None:
        driver.cuDriverGetVersion(ctypes.byref(found))
    return found.value


def gpu_uuid() -> str:
    """Which GPU device 0 is, as the driver tells them apart; empty where it does not say."""
    driver, uuid = _cuda_driver(), ctypes.create_string_buffer(16)
    found = driver is not None and driver.cuInit(0) == 0 and driver.cuDeviceGetUuid(uuid, 0) == 0
    return uuid.raw.hex() if found else ""


def _cuda_driver() -> ctypes.CDLL | None:
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
