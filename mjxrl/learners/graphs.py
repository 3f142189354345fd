"""K updates in few launches: CUDA graphs of gather, losses, optimizers and target averaging.

An update of small networks is some two hundred kernels of a few microseconds each, which the host launches more slowly
than the GPU runs them. A graph launches up to 16 updates at once. Indices and noise are drawn outside, for all K, and
copied into the graphs' own buffers, so that the eager path sees the same numbers. Parameters, statistics, step sizes
and the replay's storage keep their addresses for life: whoever restores a state copies it in.

Which updates of a graph move the policy is fixed when it is captured, so there is a graph for each phase of the policy
delay that occurs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.replay import Batch, Indices, Replay, Windows
from mjxrl.storage.state import State

MOST = 16  # updates in a graph: launches are few enough then, and capturing takes a second, not a minute
WARM_UP = 3  # eager rounds on a side stream before a capture, as torch asks

Replayed = Callable[[], object]  # launches a captured graph
Captured = Callable[[Callable[[], State]], tuple[Replayed, State]]  # captures a function; its outputs stay in place


class Updates(Protocol):
    """What a learner shows of itself to be captured."""

    config: Config
    device: torch.device
    dtype: torch.dtype
    action_size: int
    noise_per_update: int
    updates: int

    def one_update(self, batch: Batch, noise: Tensor, measure: bool) -> State: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


def capture_updates(learner: Updates, replay: Replay, updates: int) -> UpdateGraphs | None:
    """Graphs for `updates` updates, K, from `replay`; None, after a warning, where capturing fails.

    The learner's state is as before afterwards. Nothing else may use the device meanwhile.
    """
    state, current = learner.state_dict(), torch.cuda.current_stream(learner.device)
    try:
        graphs = UpdateGraphs(learner, replay, updates)
        torch.cuda.synchronize(learner.device)
        stream = torch.cuda.Stream(learner.device)
        with torch.cuda.stream(stream):
            for _ in range(max(WARM_UP, graphs.rounds_to_policy)):
                graphs.body()
        torch.cuda.synchronize(learner.device)
        learner.load_state_dict(state)
        graphs.capture(_cuda_capture())
    except RuntimeError as error:
        torch.cuda.set_stream(current)  # a capture that could not even end leaves its own
        reason = str(error).splitlines()[0]
        warnings.warn(f"updates run without CUDA graphs, more slowly, as capturing failed: {reason}", stacklevel=2)
        graphs = None
    learner.load_state_dict(state)
    return graphs


def _cuda_capture() -> Captured:
    pool = torch.cuda.graph_pool_handle()  # graphs run one after the other, so they may share their memory

    def capture(body: Callable[[], State]) -> tuple[Replayed, State]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads (jax's) may allocate meanwhile without spoiling the capture
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = body()
        return graph.replay, outputs

    return capture


class UpdateGraphs:
    """Chunks of equal length, captured once per phase of the policy delay.

    Args:
        learner: whose updates these are.
        replay: to gather from.
        updates: K; chunks have the largest divisor of K that is at most `MOST`.
    """

    def __init__(self, learner: Updates, replay: Replay, updates: int) -> None:
        self._learner, self._replay, self._updates = learner, replay, updates
        self._length = max(c for c in range(1, MOST + 1) if updates % c == 0)
        self._delay = learner.config.learner.policy_delay
        settings, device = learner.config.learner, learner.device
        shape = (self._length, settings.batch_size)
        # whatever is stored at row 0 will do: only shapes, types and addresses matter here
        zeros = torch.zeros(shape, dtype=torch.int64, device=device)
        indices = Indices(zeros, zeros + 1)
        windows = replay.windows(indices, settings.n_step, settings.gamma)
        self._windows = Windows(*(tensor.clone(memory_format=torch.contiguous_format) for tensor in windows))
        shape = (self._length, learner.noise_per_update, settings.batch_size, learner.action_size)
        self._noise = torch.zeros(shape, device=device, dtype=learner.dtype)
        self._graphs: dict[int, tuple[Replayed, State]] = {}

    @property
    def rounds_to_policy(self) -> int:
        """Calls of `body` after which the policy has moved, whatever the phase."""
        return math.ceil(self._delay / self._length)

    def fits(self, replay: Replay, updates: int) -> bool:
        """Whether these graphs were captured for that."""
        return replay is self._replay and updates == self._updates

    def body(self) -> State:
        """The updates of one chunk, eagerly, on what the buffers hold."""
        metrics: State = {}
        for k in range(self._length):
            batch = self._replay.read(self._windows.of_update(k))
            metrics |= self._learner.one_update(batch, self._noise[k], measure=k >= self._length - self._delay)
        return metrics

    def capture(self, capture: Captured) -> None:
        """Capture a graph for each phase that will occur. Capturing changes no tensor, only the count of updates."""
        updates = self._learner.updates
        chunks = math.lcm(self._length, self._delay) // self._length
        for phase in [(updates + i * self._length) % self._delay for i in range(chunks)]:
            self._learner.updates = phase
            self._graphs[phase] = capture(self.body)
        self._learner.updates = updates

    def run(self, windows: Windows, noise: Tensor) -> State:
        """Make K updates from windows (K, B) and noise (K, ...); metrics as the eager loop gives them."""
        metrics: State = {}
        for start in range(0, self._updates, self._length):
            chunk = slice(start, start + self._length)
            for buffer, drawn in zip((*self._windows, self._noise), (*windows, noise), strict=True):
                buffer.copy_(drawn[chunk])
            launch, outputs = self._graphs[self._learner.updates % self._delay]
            updates = self._learner.updates
            launch()
            self._learner.updates = updates + self._length
            metrics |= {name: value.clone() for name, value in outputs.items()}  # the next launch writes over them
        return metrics
