"""K updates in few launches: CUDA graphs of gather, losses, optimizers and target averaging.

An update of small networks is some hundred kernels of a few microseconds each, which the host launches more slowly
than the GPU runs them. A graph launches up to 16 updates at once. Indices and noise are drawn outside, for all K, and
copied into the graphs' own buffers, so that the eager path sees the same numbers. Parameters, statistics, step sizes
and the replay's storage keep their addresses for life: whoever restores a state copies it in.

Which updates of a graph move the policy is fixed when it is captured, so there is a graph for each phase of the policy
delay that occurs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch

from mjxrl.learners.batches import Draws
from mjxrl.replay import Indices, Replay
from mjxrl.storage.state import Part, State, flatten, restore

# updates in a graph: launches are few enough then, and capturing takes a second, not a minute; nor do their batches,
# which are read at once, take much memory
MOST = 16
WARM_UP = 3  # eager rounds on a side stream before a capture, as torch asks

Run = Callable[[Replay, Draws, int], State]  # makes the updates of some draws, given how many were made before
Launch = Callable[[], object]  # of a captured graph
Capture = Callable[[Callable[[], State]], tuple[Launch, State]]  # captures a function; its outputs stay in place


def captured(graphs: UpdateGraphs, made: int, parts: Mapping[str, Part]) -> UpdateGraphs | None:
    """The graphs, captured for a learner that has made `made` updates; None, after a warning, where that fails.

    What updates change, `parts`, is as before afterwards. Nothing else may use the device meanwhile.
    """
    state, device = flatten(parts), graphs.device
    current = torch.cuda.current_stream(device)
    try:
        torch.cuda.synchronize(device)
        with torch.cuda.stream(torch.cuda.Stream(device)):
            for _ in range(WARM_UP):
                graphs.run_eagerly()
        torch.cuda.synchronize(device)
        restore(parts, state)
        graphs.capture(_cuda_capture(), made)
    except RuntimeError as error:
        torch.cuda.set_stream(current)  # a capture that could not even end leaves its own
        reason = str(error).splitlines()[0]
        warnings.warn(f"updates run without CUDA graphs, more slowly, as capturing failed: {reason}", stacklevel=2)
        return None
    finally:
        restore(parts, state)
    return graphs


def _cuda_capture() -> Capture:
    pool = torch.cuda.graph_pool_handle()  # graphs run one after the other, so they may share their memory

    def capture(body: Callable[[], State]) -> tuple[Launch, State]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads (jax's) may allocate meanwhile without spoiling the capture
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = body()
        return graph.replay, outputs

    return capture


class UpdateGraphs:
    """What `run` does, in chunks of equal length, captured once per phase of the policy delay.

    The draws are of K updates, whatever they hold: only shapes, types and addresses matter. Chunks have the largest
    divisor of K that is at most `MOST`.
    """

    def __init__(self, run: Run, replay: Replay, draws: Draws, policy_delay: int) -> None:
        self._run, self._replay, self._delay = run, replay, policy_delay
        self._updates, self.device = len(draws.noise), draws.noise.device
        self._length = max(c for c in range(1, MOST + 1) if self._updates % c == 0)
        chunk = draws.of(slice(self._length)).tensors()
        self._buffers = [tensor.clone(memory_format=torch.contiguous_format) for tensor in chunk]
        self._graphs: dict[int, tuple[Launch, State]] = {}

    def fits(self, replay: Replay, draws: Draws, made: int) -> bool:
        """Whether graphs were captured for that."""
        return replay is self._replay and len(draws.noise) == self._updates and made % self._delay in self._graphs

    def run_eagerly(self, phase: int = -1) -> State:
        """The updates of one chunk on what the buffers hold. In the last phase, -1, the first one moves the policy."""
        *indices, noise = self._buffers
        return self._run(self._replay, Draws(Indices(*indices), noise), phase % self._delay)

    def capture(self, capture: Capture, made: int) -> None:
        """Capture a graph for each phase that will occur after `made` updates. Capturing changes no tensor."""
        for start in range(0, math.lcm(self._length, self._delay), self._length):
            phase = (made + start) % self._delay
            self._graphs[phase] = capture(partial(self.run_eagerly, phase))

    def run(self, draws: Draws, made: int) -> State:
        """Make K updates after `made` others; metrics as the eager loop gives them."""
        metrics: State = {}
        for start in range(0, self._updates, self._length):
            drawn = draws.of(slice(start, start + self._length)).tensors()
            torch._foreach_copy_(self._buffers, drawn)  # pyright: ignore[reportPrivateImportUsage]
            launch, outputs = self._graphs[(made + start) % self._delay]
            launch()
            copies = torch.stack(list(outputs.values()))  # the next launch writes over them
            metrics |= dict(zip(outputs, copies.unbind(), strict=True))
        return metrics
