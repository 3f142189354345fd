"""Settings that jax, torch and MuJoCo read once, when they start; so `set_up` comes first in every program.

Nothing here imports them at its own import, so that a refusal comes at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from mjxrl.machine import command_buffers

_set_here: dict[str, str] = {}  # settings that `set_up` made and may change again


def set_up(device: str, backend: str, *, jax_memory_fraction: float | None = None) -> None:
    """Set the environment that jax, torch and MuJoCo read when they are imported.

    Call it once, first. Settings of the user's own win, except for those that results depend on.

    Args:
        device: "cpu" or "cuda", as `resolve_device` gives it.
        backend: "jax", "warp", "native" or "gymnasium", as `resolve_backend` gives it.
        jax_memory_fraction: the share of the GPU's memory that jax may take, at once, leaving the rest to torch;
            None: jax takes memory as it needs it and may leave it fragmented.

    Raises:
        RuntimeError: jax is already imported and would not see these settings.
    """
    fixed = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # TF32 is too coarse for contact dynamics
    if backend == "jax":
        fixed["JAX_PLATFORMS"] = "cuda,cpu" if device == "cuda" else "cpu"
    elif "jax" not in sys.modules:  # it may run elsewhere in this process
        fixed["JAX_PLATFORMS"] = "cpu"
    cache = cache_dir()
    preferred = {"JAX_COMPILATION_CACHE_DIR": str(cache / "jax")} if cache else {}
    preferred |= {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",  # XLA's C++ side: errors only
    }
    if backend == "jax" and device == "cuda":
        preferred["JAX_CUDA_VISIBLE_DEVICES"] = "0"  # the card that torch uses: jax would take memory on every one
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
    if device == "cuda" and backend == "jax" and "jax" not in sys.modules:
        _widen_command_buffers(cache)


def _widen_command_buffers(cache: Path | None) -> None:
    """Let XLA's command buffers hold loops and branches, where they work and the user has not chosen."""
    flags = os.environ.get("XLA_FLAGS", "")
    if command_buffers.OPTION in flags:
        return
    if problem := command_buffers.problem(cache):
        warnings.warn(f"jax steps slower than it could, with loops run from the host: {problem}", stacklevel=3)
    else:
        os.environ["XLA_FLAGS"] = f"{flags} {command_buffers.FLAG}".strip()


def cache_dir() -> Path | None:
    """Where compiled programs are kept between runs, made if need be; None where this user may write nowhere."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mjxrl"
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a container's user may have no home at all
        return None
    return path if os.access(path, os.W_OK) else None


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
    """Send MuJoCo's warnings to the cache folder if there is one, unless somebody has already said where they go."""
    import mujoco

    if mujoco.MjLogConfig.get().logfile == "MUJOCO_LOG.TXT":  # MuJoCo's default
        cache = cache_dir()
        mujoco_log_to(cache / "mujoco.log" if cache else Path(os.devnull))
