"""Metrics of this process: how late its timers are, when it did not run as it should, which heartbeat streams its servers hold.

All of it is counted elsewhere, and looked at when somebody reads the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator

from grpc_heartbeat import _gc_pauses
from grpc_heartbeat._loop_timers import all_loop_timers
from grpc_heartbeat._ticks import all_pauses
from grpc_heartbeat._timers import timers
from grpc_heartbeat.core.sketch import Sketch
from grpc_heartbeat.heartbeat.held import all_held
from grpc_heartbeat.telemetry.grown import Counts, Grown
from grpc_heartbeat.telemetry.instruments import Instruments, Labels


class ProcessMetrics:
    """Looks at the timers, the wheels, the servers; watches the garbage collector from ``start`` to ``stop``."""

    def __init__(self, instruments: Instruments) -> None:
        self._pauses = Grown()
        self._streams = Grown()
        self._collections: Counts = (0, 0.0)
        instruments.gauge("grpc_heartbeat.timer.lateness", "s", "How late timers fired, since the start.", _lateness)
        instruments.counter("grpc_heartbeat.pauses", "{pause}", "How often this process paused.", self._paused)
        instruments.counter("grpc_heartbeat.pause.time", "s", "How long this process paused.", self._pause_time)
        instruments.gauge("grpc_heartbeat.server.streams", "{stream}", "Heartbeat streams that servers hold.", _held)
        instruments.counter(
            "grpc_heartbeat.server.stream.events", "{stream}", "Streams by what servers did.", self._done
        )

    def start(self) -> None:
        """Begin to watch."""
        _gc_pauses.watch(self)

    def stop(self) -> None:
        """Watch no more."""
        _gc_pauses.unwatch(self)

    def gc_paused(self, seconds: float) -> None:
        """Count a pause of the garbage collector; called in the midst of it."""
        count, total = self._collections
        self._collections = count + 1, total + seconds

    def _paused(self) -> Iterator[tuple[Labels, float]]:
        for driver, counts in self._all_pauses():
            yield {"driver": driver}, counts[0]

    def _pause_time(self) -> Iterator[tuple[Labels, float]]:
        for driver, counts in self._all_pauses():
            yield {"driver": driver}, counts[1]

    def _all_pauses(self) -> Iterator[tuple[str, Counts]]:
        yield from self._pauses.sums((driver, each, (each.count, each.total)) for driver, each in all_pauses())
        yield "collector", self._collections

    def _done(self) -> Iterator[tuple[Labels, float]]:
        reports = [(each, each.report()) for each in all_held()]
        counted = ((of.engine, each, (of.opened, of.refused, of.cut)) for each, of in reports)
        for engine, counts in self._streams.sums(counted):
            for event, count in zip(("opened", "refused", "cut"), counts, strict=True):
                yield {"engine": engine, "event": event}, count


def _held() -> Iterator[tuple[Labels, float]]:
    streams: dict[str, int] = {}
    for report in (each.report() for each in all_held()):
        streams[report.engine] = streams.get(report.engine, 0) + report.streams
    for engine, count in streams.items():
        yield {"engine": engine}, count


def _lateness() -> Iterator[tuple[Labels, float]]:
    loops = Sketch.merged(each.queue.lateness for each in all_loop_timers())
    for driver, sketch in (("thread", timers().queue.lateness), ("loop", loops)):
        late = sketch.summary()
        if late.count:
            for quantile, value in (("0.5", late.p50), ("0.99", late.p99), ("1", late.max)):
                yield {"driver": driver, "quantile": quantile}, value
