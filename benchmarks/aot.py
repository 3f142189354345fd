"""What XLA makes of a vector step for a GPU that is not there: launches, library calls, turns of loops run by the host.

    python3.12 -m venv AOT && AOT/bin/pip install "jax[cuda13]==0.11.2" mujoco==3.17.0 mujoco-mjx==3.17.0 \
        gymnasium==1.4.0 imageio nvidia-cuda-nvcc
    PYTHONPATH=$PWD AOT/bin/python benchmarks/aot.py --env Ant-v5 --target h200.txtpb --json OUT.json

jax compiles ahead of time for a GPU that a file describes, and nothing is executed: the counts are exact for the given
number of Newton's turns, times are not known. The description is `xla/backends/gpu/target_config/specs/*.txtpb` in
XLA's sources, or the `*.gpu_target_config.pbtxt` that `XLA_FLAGS=--xla_dump_to=DIR` writes where the GPU is. Torch is
not needed. HalfCheetah takes a minute or two of one core, Ant three or four.

XLA dumps the sequence of thunks that its runtime would execute. What is in a command buffer is submitted by one launch;
outside, each kernel and each copy is a launch. A loop outside runs from the host, which copies the condition back and
waits for it before each turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

KERNELS = {"kKernel", "kCustomKernel"}
COPIES = {"kCopy", "kMemzero", "kMemset32BitValue"}
LIBRARY = {"kCustomCall", "kTriangularSolve", "kGemm", "kCublasLtMatmul", "kCholesky", "kConvolution", "kFft"}
LINE_SEARCH = 8  # turns, as `--physics.accuracy exact` has
HASTY = "--xla_llvm_disable_expensive_passes=true"  # kernels that are counted, not run, need not be good


class Node(NamedTuple):
    """A thunk and those within it."""

    kind: str
    children: list[Node]


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the launches of a vector step on a GPU that is not there.")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--target", type=Path, required=True, help="XLA's description of the GPU")
    parser.add_argument("--worlds", type=int, default=4096)
    parser.add_argument("--newton", type=int, default=3, help="turns of Newton's method to count with")
    parser.add_argument("--no-wide-buffers", action="store_true", help="loops and branches stay out of command buffers")
    parser.add_argument("--json", type=Path, help="write the counts here")
    options = parser.parse_args()

    from mjxrl.machine.command_buffers import FLAG

    flags = "" if options.no_wide_buffers else FLAG
    flags = f"{flags} {HASTY}".strip()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
            "JAX_PLATFORMS": "cpu",
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
            "XLA_FLAGS": f"{flags} --xla_dump_to={folder} --xla_dump_hlo_as_text",
        }
        task, seconds = compile_step(options.env, options.worlds, options.target.read_text())
        dumped = sorted(Path(folder).glob("*jit_vector_step*.thunk_sequence_after_thunk_passes.txt"))
        root = parsed(dumped[-1].read_text())
    counts = launches(root, [task.frame_skip, options.newton, LINE_SEARCH])
    content = {
        "what": "compiled ahead of time for a GPU that was not there; nothing was executed",
        "env": options.env,
        "worlds": options.worlds,
        "newton_turns": options.newton,
        "target": options.target.stem,
        "xla_flags": flags,
        "versions": {name: version(name) for name in ("jax", "jaxlib", "mujoco", "mujoco-mjx")},
        "compile_cpu_s": round(seconds),
        "per_vector_step": counts,
        "in_the_program": dict(Counter(node.kind for node in below(root)).most_common()),
    }
    print(json.dumps(content, indent=1))
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def compile_step(env: str, num_envs: int, target: str) -> tuple[Any, float]:
    """Compile the vector step as `VectorEnv` does on a GPU; returns the task and the seconds of processor time."""
    if importlib.util.find_spec("torch") is None:  # the step's annotations name it
        sys.modules["torch"] = SimpleNamespace(Tensor=object, device=object)  # type: ignore[assignment]
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from mjxrl.envs import task_class
    from mjxrl.physics.mjx import MjxPhysics, MjxState
    from mjxrl.worlds.program import vector_reset, vector_step

    topology = topologies.get_topology_desc(platform="cuda", target_config=target, topology="1x1x1")
    mesh = topologies.make_mesh(topo=topology, mesh_shape=(1,), axis_names=("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    jax.default_backend = lambda: "gpu"  # the programs are to be those of a GPU
    task = task_class(env)()
    physics = MjxPhysics(task, num_envs)

    def first() -> tuple[MjxState, jax.Array]:  # `init` would put its arrays on a device
        data = physics._make_data()
        batched = jax.vmap(lambda _: data)(jnp.arange(num_envs))
        return MjxState(batched, jnp.zeros(num_envs, jnp.int32)), jax.random.key_data(jax.random.key(0))

    state, _ = jax.eval_shape(partial(vector_reset, task, physics, False), *jax.eval_shape(first))
    there = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
    action = jax.ShapeDtypeStruct((num_envs, task.model.nu), jnp.float32, sharding=sharding)
    start = time.process_time()
    jax.jit(partial(vector_step, task, physics), donate_argnums=0).lower(there, action).compile()
    return task, time.process_time() - start


def parsed(text: str) -> Node:
    """The dump's indented lines as a tree."""
    root = Node("", [])
    stack = [(-1, root)]
    for line in text.splitlines():
        match = re.match(r"^(\s*)(?:\d+: )?(k[A-Z]\w+)", line)
        if match is None:
            continue
        indent, node = len(match.group(1)), Node(match.group(2), [])
        while stack[-1][0] >= indent:
            stack.pop()
        stack[-1][1].children.append(node)
        stack.append((indent, node))
    return root


def launches(root: Node, turns: list[int]) -> dict[str, int]:
    """Counts per vector step; `turns` of loops at depth 0, 1, …: substeps, Newton's, the line search's."""
    names = ("kernels", "copies", "command_buffers", "launches_outside", "library_calls", "host_driven_turns")
    total: dict[str, int] = dict.fromkeys(names, 0)

    def walk(node: Node, times: int, depth: int, captured: bool) -> None:
        for child in node.children:
            kind, inside, deeper, repeated = child.kind, captured, depth, times
            if kind in KERNELS | COPIES | LIBRARY:
                group = "kernels" if kind in KERNELS else "copies" if kind in COPIES else "library_calls"
                total[group] += times
                total["launches_outside"] += 0 if captured else times
            elif kind == "kCommandBuffer":
                total["command_buffers"] += 0 if captured else times
                inside = True
            elif kind == "kWhile":
                repeated, deeper = times * turns[min(depth, len(turns) - 1)], depth + 1
                total["host_driven_turns"] += 0 if captured else repeated
            walk(child, repeated, deeper, inside)

    walk(root, 1, 0, False)
    return total


def below(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from below(child)


if __name__ == "__main__":
    main()
