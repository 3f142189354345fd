"""Losses and their gradients through torch.compile: one fused program each, in place of some hundred operators.

On a CPU the operators of small networks cost as much as their arithmetic. Compiling takes 30 to 40 seconds and a C++
compiler; what it makes is kept on disk, so that the next run of the same sizes starts in seconds.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mjxrl.machine import settings

Function = Callable[..., Any]


def compiled(functions: Sequence[Function], *arguments: Any, device: torch.device) -> list[Function]:
    """The functions, compiled for such arguments; as they are, after a warning, where that fails.

    They must be pure, and may call `torch.autograd.grad`. Each is called once, which is when it compiles.
    """
    try:
        set_up(device)
        programs = [torch.compile(function, dynamic=False) for function in functions]
        for program in programs:
            program(*arguments)
    except Exception as error:  # whatever a compiler may fail of
        cause = getattr(error, "inner_exception", error)
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        warnings.warn(f"updates run uncompiled, more slowly, as compiling failed: {reason}", stacklevel=2)
        return list(functions)
    return programs


def set_up(device: torch.device) -> None:
    """Set torch.compile's settings, which are the whole process's; loads it, which takes two seconds."""
    if cache := settings.cache_dir():
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torch"))  # else a temporary folder
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    dynamo.trace_autograd_ops = True  # else the call for the gradient splits the program: as right, and slower
    if device.type == "cpu":
        inductor.compile_threads = 1  # no worker processes, which would stay as long as the run
