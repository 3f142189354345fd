"""Losses and their gradients through torch.compile: one fused program in place of some hundred operators.

On a CPU the operators of small networks cost as much as their arithmetic. Compiling takes half a minute and a C++
compiler; what it makes is kept on disk, so that the next run of the same sizes starts in seconds.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import torch

from mjxrl import runtime


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """`function`, which may call `torch.autograd.grad`, compiled for `device` when it is first called."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(runtime.cache_dir() / "torch"))  # else a temporary folder
    import torch._dynamo.config  # loads a compiler: two seconds
    import torch._inductor.config

    # Without it the call for the gradient splits the program in two, which is as right and slower.
    torch._dynamo.config.trace_autograd_ops = True
    if device.type == "cpu":
        torch._inductor.config.compile_threads = 1  # no worker processes, which would stay as long as the run
    return torch.compile(function, dynamic=False)


def compile_now(call: Callable[[], object]) -> bool:
    """Make compiled functions compile by calling them. False, after a warning, if they can't: no C++ compiler, say."""
    try:
        call()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"updates run uncompiled, more slowly, as compiling failed: {reason}", stacklevel=2)
        return False
    return True
