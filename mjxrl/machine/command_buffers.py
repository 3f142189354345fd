"""Whether XLA's command buffers may hold loops and branches on this GPU; found out once, by a process of its own.

A command buffer is one launch for all kernels in it. By default XLA leaves loops and branches out: the host runs them,
and waits for the device before each turn. With them in, a whole vector step is one launch. But they are new:
openxla/xla PR 35760 tells of crashes when such a buffer runs a second time. So a small program of a vector step's
structure runs many times, with and without, where a crash costs nothing, and the verdict is kept for this card, driver
and jax.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mjxrl.machine import devices, versions

OPTION = "--xla_gpu_enable_command_buffer"
FLAG = f"{OPTION}=+WHILE,+CONDITIONAL"
_LIMIT = 300  # seconds a process may take, of which nearly all are start-up and compilation


def problem(cache: Path | None) -> str | None:
    """Why loops and branches must stay out of command buffers on this machine's GPU, None if they work.

    Args:
        cache: the folder in which the verdict is kept; None: it is found out every time.
    """
    packages = " ".join(
        f"{name} {versions.installed(name)}" for name in ("jaxlib", "jax-cuda13-pjrt", "jax-cuda12-pjrt")
    )
    key = f"{devices.device_name('cuda')}, driver {devices.cuda_driver_version()}, {packages}"
    path = cache / "command_buffers.json" if cache else None
    verdicts = _read(path)
    if key not in verdicts:
        without = _run("")
        if without.returncode:  # jax does not run at all: nothing is known of command buffers
            return f"the check fails without them too: {_last_line(without.stderr)}"
        found = _run(FLAG)
        if found.returncode:
            verdicts[key] = f"the check ends with status {found.returncode}: {_last_line(found.stderr)}"
        else:
            verdicts[key] = None if found.stdout == without.stdout else "the check has other results"
        if path:
            path.write_text(json.dumps(verdicts, indent=1) + "\n", encoding="utf-8")
    return verdicts[key]


def _read(path: Path | None) -> dict[str, str | None]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path else {}
    except (OSError, ValueError):  # there is none yet, or another process is writing it
        return {}


def _run(flag: str, steps: int = 300) -> subprocess.CompletedProcess[str]:
    """The check in a process of its own, with `flag` among XLA's."""
    settings = {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip(),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    command = [sys.executable, "-m", __name__, str(steps)]
    try:
        return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no end within {_LIMIT} s")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def main(steps: int) -> None:
    """Print where 4096 worlds are after the first and the last three of `steps` steps.

    A step is made as a vector step is: substeps, in each a loop until the slowest world has converged, in that a line
    search; and a branch.
    """
    import jax
    import jax.numpy as jnp

    def root(x: jax.Array) -> jax.Array:
        """The y of y³ + y = x, (8,), by Newton's method."""

        def turn(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            y, turns, _ = state
            direction = (x - y**3 - y) / (3 * y**2 + 1)

            def halve(scale: jax.Array, _: None) -> tuple[jax.Array, None]:
                tried = y + scale * direction
                worse = jnp.abs(x - tried**3 - tried).sum() > jnp.abs(x - y**3 - y).sum()
                return jnp.where(worse, scale / 2, scale), None

            scale, _ = jax.lax.scan(halve, jnp.float32(1), None, length=8)
            y += scale * direction
            return y, turns + 1, (jnp.abs(x - y**3 - y).max() > 1e-5) & (turns < 20)

        start = (jnp.zeros_like(x), jnp.int32(0), jnp.array(True))
        return jax.lax.while_loop(lambda state: state[2], turn, start)[0]

    def step(x: jax.Array) -> jax.Array:
        x = jax.lax.fori_loop(0, 5, lambda _, x: 0.9 * jax.vmap(root)(x) + drift, x)
        return jax.lax.cond((x > 1.2).any(), lambda x: jnp.where(x > 1.2, x - 1, x), lambda x: x, x)

    drift = jnp.linspace(0.2, 1.2, 4096 * 8).reshape(4096, 8)
    compiled, x = jax.jit(step, donate_argnums=0), jnp.zeros_like(drift)
    for i in range(steps):
        x = compiled(x)
        if i in (0, steps - 3, steps - 2, steps - 1):
            print([round(number, 3) for number in x[::512].mean(axis=1).tolist()])


if __name__ == "__main__":
    main(int(sys.argv[1]))
