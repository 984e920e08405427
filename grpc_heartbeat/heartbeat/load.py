"""Measures how busy this process is, while heartbeats ask for it.

What is measured, and how, is in ``core/load.py``. Here are the clocks, the no-op that waits for a worker, and the member of the
stack's wheel that looks at both between two readings. When no beats come any more, it leaves the wheel and takes leave of the
garbage collector: nothing is left that runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future

from grpc_heartbeat import _faults, _gc_pauses
from grpc_heartbeat._in_flight import in_flight
from grpc_heartbeat._ticks import Ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.load import LagProbe, Meter, QueueProbe, Rhythm, Worst
from grpc_heartbeat.core.wheel import BASE, Member


class LoadMeter(Member):
    """Measures one server. Calling it takes a reading; on asyncio on the loop.

    Args:
        ticks: The wheel of the server's stack, asked for at the first reading.
        workers: Where its handlers run. Its ``submit`` must not block. Default: unknown.
        lag: Measure the lateness of the wheel's loop.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_lag",
        "_meter",
        "_of",
        "_pauses",
        "_queue",
        "_rhythm",
        "_ticks",
        "_workers",
    )

    def __init__(self, ticks: Callable[[], Ticks], workers: Executor | None, *, lag: bool) -> None:
        self.slot = None
        self._of = ticks
        self._ticks: Ticks | None = None
        self._workers = workers
        self._queue = None if workers is None else QueueProbe()
        self._lag = LagProbe() if lag else None
        self._pauses = Worst()
        self._rhythm = Rhythm()
        self._closed = False
        self._meter = Meter(clock(), time.process_time(), self._queue, self._lag, self._pauses)

    def __call__(self) -> Load:
        """Return how busy the process was since the last call."""
        now = clock()
        self._rhythm.asked(now)
        if self._ticks is None and not self._closed:
            self._start(now)
        return self._meter.read(now, time.process_time(), in_flight())

    def freshness(self) -> float:
        """Return the seconds for which a reading made now serves all acks."""
        return self._meter.freshness(clock())

    def tick(self, now: float) -> float | None:
        """Look at the workers and the loop."""
        here = clock()  # the wheel's `now` is that of the loop's clock
        wait = self._look(here)
        if wait is None:
            self._stop()
            return None
        return now + wait

    def gc_paused(self, seconds: float) -> None:
        """Note a garbage collection."""
        self._pauses.add(seconds)

    def close(self) -> None:
        """Measure no more."""
        self._closed = True
        ticks = self._ticks
        if ticks is not None:
            ticks.remove(self)
        self._stop()

    @property
    def runs(self) -> bool:
        """Whether it looks at anything at the moment."""
        return self._ticks is not None

    def _start(self, now: float) -> None:
        ticks = self._ticks = self._of()
        _gc_pauses.watch(self)
        ticks.add(self, ticks.now() + (self._look(now) or 0.0))

    def _stop(self) -> None:
        if self._lag is not None:
            self._lag.called(clock())
        _gc_pauses.unwatch(self)
        self._ticks = None  # last: from here on a reading starts it again

    def _look(self, now: float) -> float | None:
        """Look at what is to be looked at; return how soon again."""
        if self._lag is not None:
            self._lag.called(now)
        if self._queue is not None and self._queue.begin(now):
            self._hand_over(self._queue)
        due = None if self._closed else self._rhythm.next(now)
        if due is None:
            return None
        if self._lag is not None:
            self._lag.expect(due + self.grain * BASE)
        return due - now

    def _hand_over(self, queue: QueueProbe) -> None:
        assert self._workers is not None
        try:
            self._workers.submit(self._ran).add_done_callback(self._handed_over)
        except Exception as error:
            queue.refused()
            if not isinstance(error, RuntimeError):  # a pool that is shut down
                _faults.record("load.submit", error)

    def _handed_over(self, handed: Future[None]) -> None:
        """Leave workers alone that have dropped the no-op, as those of a pool do that is shut down."""
        if self._queue is not None and (handed.cancelled() or handed.exception() is not None):
            self._queue.refused()

    def _ran(self) -> None:
        if self._queue is not None:
            self._queue.ran(clock())
