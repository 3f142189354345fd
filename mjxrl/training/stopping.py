"""When a run ends: by transitions, by minutes, or because somebody asked it to."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mjxrl.machine.ranks import Ranks


class Stop:
    """Becomes true at SIGINT or SIGTERM (`signal` says which) or when `max_minutes` are over that count from `begin`.

    The loop looks at it once per vector step and then ends in good order. A second signal ends the process at once.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._seconds = math.inf if max_minutes is None else 60 * max_minutes
        self._deadline = math.inf

    def begin(self) -> None:
        """The first step comes next; what came before, such as compiling, takes none of the minutes."""
        self._deadline = time.monotonic() + self._seconds

    def agree(self, ranks: Ranks) -> None:
        """The loop has ended. Where one rank is to stop, all are, and for the same reason."""
        ranks.last_vote()
        said = ranks.gathered([self.signal, bool(self)])
        signals = [signal.Signals(number) for number, _ in said if number is not None]
        self.signal = signals[0] if signals else None
        if any(over for _, over in said):
            self._deadline = -math.inf

    def __bool__(self) -> bool:
        return self.signal is not None or time.monotonic() >= self._deadline

    @property
    def exit_status(self) -> int:
        """0, or 128 plus the signal's number: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal if self.signal is not None else 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM while the block runs; in another thread than the main one nobody can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _: object) -> None:
            if self.signal is not None:
                os._exit(128 + number)  # asked twice: at once, leaving the last checkpoint whole
            self.signal = signal.Signals(number)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
