"""Losses and their gradients through torch.compile: one fused program each, in place of some hundred operators.

On a CPU the operators of small networks cost as much as their arithmetic. Compiling takes 30 to 40 seconds and a C++
compiler; what it makes is kept on disk, so that the next run of the same sizes starts in seconds.
"""

from __future__ import annotations

import os
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mjxrl.machine import settings


def compiled(functions: Sequence[types.MethodType], *arguments: Any, device: torch.device) -> list[Callable[..., Any]]:
    """The methods, compiled for such arguments; as they are, after a warning, where that fails.

    They must be pure but for what they read of their object, whose tensors and settings must stay the same ones, and
    may call `torch.autograd.grad`. Each is called once, which is when it compiles.
    """
    try:
        set_up(device)
        options = {"guard_filter_fn": _of_arguments, "cpp_wrapper": device.type == "cpu"}
        programs = [torch.compile(_apart(function), dynamic=False, options=options) for function in functions]
        for program in programs:
            program(*arguments)
    except Exception as error:  # whatever a compiler may fail of
        cause = getattr(error, "inner_exception", error)
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        warnings.warn(f"updates run uncompiled, more slowly, as compiling failed: {reason}", stacklevel=2)
        return list(functions)
    return programs


def _apart(method: types.MethodType) -> types.MethodType:
    """The method with code of its own: torch keeps programs by code, and would take another object's for this one's."""
    function = method.__func__
    code, closure = function.__code__.replace(), function.__closure__
    copy = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    return types.MethodType(copy, method.__self__)


def _of_arguments(guards: Sequence[Any]) -> list[bool]:
    """Which of the conditions to check at each call under which a program is valid: those on its arguments' tensors.

    Some 250 others say that the object is as it was, which takes a twentieth of an update on a CPU.
    """
    return [guard.guard_type == "TENSOR_MATCH" and "self" not in guard.name for guard in guards]


def set_up(device: torch.device) -> None:
    """Set torch.compile's settings, which are the whole process's; loads it, which takes two seconds."""
    if cache := settings.cache_dir():
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torch"))  # else a temporary folder
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    dynamo.trace_autograd_ops = True  # else the call for the gradient splits the program: as right, and slower
    if device.type == "cpu":
        inductor.compile_threads = 1  # no worker processes, which would stay as long as the run
