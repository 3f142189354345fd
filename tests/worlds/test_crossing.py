"""From a simulator on the host to torch's device and back: one copy each way a step, and the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mjxrl.envs.half_cheetah import HalfCheetah
from mjxrl.worlds.crossing import Crossing
from mjxrl.worlds.vector_env import VectorEnv

CPU = torch.device("cpu")


class Copies(TorchDispatchMode):
    """Counts copies between what was handed over and what came back; torch's other operations are views and empties."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in ("copy_", "_to_copy", "clone"):
            self.bytes.append(args[1 if name == "copy_" else 0].nbytes)
            assert (kwargs or {}).get("non_blocking") or args[2:] == (True,), f"{name} waits"
        else:
            assert name in ("detach", "slice", "view", "empty", "empty_like", "alias"), name
        return func(*args, **(kwargs or {}))


class Short(HalfCheetah):
    max_episode_steps = 7


def worlds(apart: bool) -> VectorEnv:
    env = VectorEnv(Short(), 6, backend="native", device=CPU, stagger=True)
    env._runner._crossing = Crossing(CPU, apart)  # type: ignore[attr-defined]
    env.reset()
    return env


def test_a_step_crosses_twice() -> None:
    env = worlds(apart=True)
    action = torch.zeros(6, 6)
    env.step(action)  # makes the buffers
    with Copies() as copies:
        env.dispatch(action)
        result = env.collect()
    wanted = sum(x.nbytes for x in tensors(result))
    assert copies.bytes[0] == action.nbytes and wanted <= copies.bytes[1] <= wanted + 64 * len(tensors(result))
    assert len(copies.bytes) == 2
    assert len({x.untyped_storage().data_ptr() for x in tensors(result)}) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_crossed_is_what_was_computed(dtype: torch.dtype) -> None:
    here, there = worlds(apart=False), worlds(apart=True)
    seen: list[tuple[list[Tensor], list[Tensor]]] = []
    generator = torch.Generator().manual_seed(0)
    for i in range(16):
        action = (torch.rand(6, 6, generator=generator) * 2 - 1).to(dtype)
        if i == 5:
            action[2, 0] = torch.nan
        for env in (here, there):
            given = action.clone()
            env.dispatch(given)
            given.fill_(9)  # the caller's again
        results = here.collect(), there.collect()
        assert results[0].obs.dtype == torch.float32 and results[0].valid.dtype == torch.bool
        seen.append((tensors(results[0]), tensors(results[1])))
        for one, other in seen:  # earlier ones keep their values
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert sum(int(one[2].sum()) for one, _ in seen) == 1  # terminated, of the action that was NaN


def tensors(result: Any) -> list[Tensor]:
    return [x for part in result for x in (part.values() if isinstance(part, dict) else (part,))]
