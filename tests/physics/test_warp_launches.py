"""How many kernels a vector step launches on Warp, and that all of them compile for a GPU that is not here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from mjxrl.envs import task_class
from mjxrl.envs.task import Reset
from mjxrl.physics import make_physics
from tests.conftest import need_warp

TURNS = 3  # of Newton's method, as random play takes on average
CONDITIONS = TURNS + 1  # kernels that Warp adds to a loop: its condition before it, and after each turn


class Launches(NamedTuple):
    outside: int
    in_loops: int
    loops: int
    modules: dict[str, Any]

    @property
    def kernels(self) -> int:
        return self.outside + TURNS * self.in_loops + CONDITIONS * self.loops


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Launches]:
    """Of a vector step, its reset included."""
    need_warp()
    wp: Any = importlib.import_module("warp")
    context: Any = importlib.import_module("warp._src.context")

    def of(env_id: str) -> Launches:
        task = task_class(env_id)()
        physics: Any = make_physics(task, 4, "warp")
        state, random = physics.init(0)
        first = task.reset(physics.xp, physics.draw(random, task.reset_noise())[1])
        physics.set_where(state, torch.ones(4, dtype=torch.bool), Reset(first.qpos, first.qvel))
        counts, inside, modules = {"outside": 0, "in_loops": 0, "loops": 0}, [False], {}
        launch, capture_while = context.launch, wp.capture_while

        def count(kernel: Any, dim: Any, *arguments: Any, **options: Any) -> Any:
            if np.prod(dim):  # Warp skips empty ones
                counts["in_loops" if inside[0] else "outside"] += 1
                modules[kernel.module.name] = kernel.module
            return launch(kernel, dim, *arguments, **options)

        def loop(condition: Any, while_body: Callable[..., Any], **options: Any) -> None:
            """A graph holds the body once."""

            def once(**given: Any) -> None:
                before, inside[0] = dict(counts), True
                while_body(**given)
                inside[0] = False
                if turns:
                    counts.update(before)
                turns.append(1)

            turns: list[int] = []
            capture_while(condition, once, **options)
            counts["loops"] += 1

        with monkeypatch.context() as patch:
            patch.setattr(wp, "launch", count)
            patch.setattr(context, "launch", count)
            patch.setattr(wp, "capture_while", loop)
            state.substeps._function()
            if physics._derived:
                state.recompute._function()
        return Launches(**counts, modules=modules)

    return of


MOST = {"HalfCheetah-v5": 550, "Ant-v5": 2100, "Humanoid-v5": 2400}


FAST = "HalfCheetah-v5"


@pytest.mark.parametrize("env_id", [FAST, *(pytest.param(e, marks=pytest.mark.slow) for e in MOST if e != FAST)])
def test_kernels_of_a_vector_step(env_id: str, launches: Callable[[str], Launches]) -> None:
    found = launches(env_id)
    assert found.loops in (5, 20)  # a solve for each substep, and with RK4 for each of its four stages
    assert 0.9 * MOST[env_id] < found.kernels <= MOST[env_id], found[:3]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["Ant-v5", "Humanoid-v5", "FetchPush-v4"])
def test_every_kernel_compiles_for_hopper(env_id: str, launches: Callable[[str], Launches], tmp_path: Path) -> None:
    """Warp's wheel has NVIDIA's compiler; with default block sizes."""
    wp: Any = importlib.import_module("warp")
    modules = launches(env_id).modules
    assert len(modules) > 20
    for module in modules.values():
        wp.compile_aot_module(module, arch=90, module_dir=str(tmp_path), use_ptx=False)
    assert len(list(tmp_path.glob("*.cubin"))) >= len(modules)
