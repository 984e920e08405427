"""Metrics of this process: how late its timers are, and for how long it did not run as it should."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from grpc_heartbeat._loop_timers import all_loop_timers
from grpc_heartbeat._ticks import all_pauses
from grpc_heartbeat._timers import timers
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.sketch import Sketch
from grpc_heartbeat.telemetry.instruments import Instruments, Labels


class ProcessMetrics:
    """Looks at the timers and the wheels when somebody reads the metrics."""

    def __init__(self, instruments: Instruments) -> None:
        self._grown = _Grown()
        instruments.gauge("grpc_heartbeat.timer.lateness", "s", "How late timers fired, since the start.", _lateness)
        instruments.counter("grpc_heartbeat.pauses", "{pause}", "Times that this process did not run.", self._pauses)
        instruments.counter("grpc_heartbeat.pause.time", "s", "Time that this process did not run.", self._paused)

    def _pauses(self) -> Iterator[tuple[Labels, float]]:
        for driver, (count, _) in self._grown.sums().items():
            yield {"driver": driver}, count

    def _paused(self) -> Iterator[tuple[Labels, float]]:
        for driver, (_, seconds) in self._grown.sums().items():
            yield {"driver": driver}, seconds


class _Grown:
    """The sums over all loops, those included that are gone: a counter may not fall."""

    def __init__(self) -> None:
        self._seen: weakref.WeakKeyDictionary[LocalPauses, tuple[int, float]] = weakref.WeakKeyDictionary()
        self._sums: dict[str, tuple[float, float]] = {}

    def sums(self) -> dict[str, tuple[float, float]]:
        """Return the number of pauses and their seconds, by driver."""
        for driver, pauses in all_pauses():
            count, seconds = self._seen.get(pauses, (0, 0.0))
            self._seen[pauses] = now = max(count, pauses.count), max(seconds, pauses.total)
            counts, total = self._sums.get(driver, (0.0, 0.0))
            self._sums[driver] = counts + now[0] - count, total + now[1] - seconds
        return self._sums


def _lateness() -> Iterator[tuple[Labels, float]]:
    loops = Sketch.merged(each.queue.lateness for each in all_loop_timers())
    for driver, sketch in (("thread", timers().queue.lateness), ("loop", loops)):
        late = sketch.summary()
        if late.count:
            for quantile, value in (("0.5", late.p50), ("0.99", late.p99), ("1", late.max)):
                yield {"driver": driver, "quantile": quantile}, value
