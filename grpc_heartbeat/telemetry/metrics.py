"""Metrics of heartbeats, deadlines and timers, by OpenTelemetry's API.

Theory of operation. Histograms and counters are fed by the observers of this process (``_call_events.py``) where things happen.
What has a value at any time (states, live streams, round trips, lateness) is looked at when somebody reads the metrics: a table
with a line per heartbeat is kept up by the same events.

Label values that strangers choose are bounded (``core/labels.py``). ``health_check_duration_seconds`` has that name in OTLP and
in Prometheus: the exporter adds the unit to names that do not end in it. docs/metrics.md lists all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation

from grpc_heartbeat._call_events import beat_events, call_events, rpc_events
from grpc_heartbeat._loop_timers import all_loop_timers
from grpc_heartbeat._timers import timers
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    BeatSent,
    HeartbeatClosed,
    LateEcho,
    StreamFailed,
    StreamOpened,
)
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent
from grpc_heartbeat.core.labels import BoundedLabel
from grpc_heartbeat.core.server_events import RpcExpired, RpcOverran, RpcRejected, RpcStarted
from grpc_heartbeat.core.sketch import Sketch
from grpc_heartbeat.telemetry.heartbeat_table import HeartbeatTable, Labels

MOST_SERVICES = 100
MOST_ZONES = 50
MOST_METHODS = 200

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of the buckets of all histograms. OpenTelemetry's own are made for milliseconds."""

_Gauge = Callable[[CallbackOptions], Iterable[Observation]]


class Metrics:
    """The instruments, and what feeds them from ``start`` to ``stop``.

    Args:
        meter_provider: Default: the global one.
    """

    def __init__(self, meter_provider: Any = None) -> None:
        meter = metrics.get_meter("grpc_heartbeat", meter_provider=meter_provider)
        self._running = False
        self._service = BoundedLabel(MOST_SERVICES)
        self._zone = BoundedLabel(MOST_ZONES)
        self._method = BoundedLabel(MOST_METHODS)
        self._table = HeartbeatTable(self._labels)
        self._check = _histogram(
            meter, "health_check_duration_seconds", "Time from a beat to its answer, or to its miss."
        )
        self._beats = meter.create_counter("grpc_heartbeat.beats", "{beat}", "Beats by how they ended.")
        self._reconnects = meter.create_counter(
            "grpc_heartbeat.reconnects", "{stream}", "Streams opened after the first."
        )
        self._failures = meter.create_counter("grpc_heartbeat.stream.failures", "{stream}", "Streams that failed.")
        self._early = meter.create_counter("grpc_heartbeat.client.ended_early", "{call}", "Calls ended by a limit.")
        self._budget = _histogram(meter, "grpc_heartbeat.server.budget", "What was left of RPCs' budgets at entry.")
        self._delay = _histogram(
            meter, "grpc_heartbeat.server.queue_delay", "Time from arrival to the handler's start."
        )
        self._refused = meter.create_counter(
            "grpc_heartbeat.server.refused", "{rpc}", "RPCs not served, or not to the end."
        )
        self._gauges(meter)

    def _gauges(self, meter: metrics.Meter) -> None:
        table = self._table
        for name, unit, description, values in (
            ("grpc_heartbeat.heartbeats", "{heartbeat}", "Heartbeats by their state.", table.states),
            ("grpc_heartbeat.live_streams", "{stream}", "Heartbeat streams that are open.", table.live_streams),
            ("grpc_heartbeat.rtt", "s", "The last round trip, averaged over heartbeats.", table.round_trips),
            ("grpc_heartbeat.timer.lateness", "s", "How late timers fired, since the start.", _lateness),
        ):
            meter.create_observable_gauge(name, [self._gauge(values)], unit, description)

    def _gauge(self, values: Callable[[], Iterable[tuple[Labels, float]]]) -> _Gauge:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            if self._running:
                for labels, value in values():
                    yield Observation(value, labels)

        return observe

    def start(self) -> None:
        """Begin to listen."""
        self._running = True
        call_events.add(self._hear_call)
        rpc_events.add(self._hear_rpc)
        beat_events.add(self._hear_beat)

    def stop(self) -> None:
        """Stop to listen. Instruments cannot be taken back: they keep what they have."""
        self._running = False
        call_events.remove(self._hear_call)
        rpc_events.remove(self._hear_rpc)
        beat_events.remove(self._hear_beat)

    def _labels(self, news: HeartbeatEvent) -> Labels:
        peer = news.snapshot.peer
        return {
            "service": self._service("" if peer is None else peer.service),
            "type": news.type,
            "zone": self._zone("" if peer is None else peer.zone),
        }

    def _hear_call(self, event: Event) -> None:
        if isinstance(event, CallEndedEarly):
            facts = event.facts
            labels = {"method": self._method(event.method), "layer": facts.layer, "status": event.status}
            self._early.add(1, {**labels, "source": facts.source.partition(":")[0]})

    def _hear_rpc(self, event: Event) -> None:
        if isinstance(event, RpcStarted):
            labels = {"method": self._method(event.method)}
            self._delay.record(event.queue_delay, labels)
            if event.left is not None:
                self._budget.record(event.left, labels)
        elif isinstance(event, RpcRejected):
            reason = "minimum_budget" if event.enforced else "minimum_budget_not_enforced"
            self._refused.add(1, {"method": self._method(event.method), "reason": reason})
        elif isinstance(event, (RpcExpired, RpcOverran)):
            reason = "expired" if isinstance(event, RpcExpired) else "overran"
            self._refused.add(1, {"method": self._method(event.method), "reason": reason})

    def _hear_beat(self, news: Event) -> None:
        if not isinstance(news, HeartbeatEvent):
            return
        event, line = news.event, self._table.line(news)
        if isinstance(event, BeatSent):
            line.sent_at = event.at
        elif isinstance(event, BeatAcked):
            self._checked(news, line.labels, event.rtt, event.ack.status.name.lower(), "acked")
        elif isinstance(event, BeatMissed):
            self._checked(news, line.labels, event.at - line.sent_at, "missed", "missed")
        elif isinstance(event, BeatAbandoned):
            self._beats.add(1, {**line.labels, "outcome": "abandoned"})
        elif isinstance(event, LateEcho):
            self._beats.add(1, {**line.labels, "outcome": "late_echo"})
        elif isinstance(event, StreamOpened):
            if news.snapshot.streams > 1:
                self._reconnects.add(1, line.labels)
        elif isinstance(event, StreamFailed):
            self._failures.add(1, {**line.labels, "cause": event.cause})
        elif isinstance(event, HeartbeatClosed):
            self._table.forget(news)

    def _checked(self, news: HeartbeatEvent, labels: Labels, seconds: float, status: str, outcome: str) -> None:
        context = None
        if isinstance(news.trace, trace.SpanContext):  # for exemplars
            context = trace.set_span_in_context(trace.NonRecordingSpan(news.trace), Context())
        self._check.record(max(0.0, seconds), {**labels, "status": status}, context)
        self._beats.add(1, {**labels, "outcome": outcome})


def _histogram(meter: metrics.Meter, name: str, description: str) -> Any:
    if "explicit_bucket_boundaries_advisory" in inspect.signature(meter.create_histogram).parameters:
        return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECONDS)
    return meter.create_histogram(name, "s", description)  # before 1.30: the application's views set the buckets


def _lateness() -> Iterator[tuple[Labels, float]]:
    loops = Sketch.merged(each.queue.lateness for each in all_loop_timers())
    for driver, sketch in (("thread", timers().queue.lateness), ("loop", loops)):
        late = sketch.summary()
        if late.count:
            for quantile, value in (("0.5", late.p50), ("0.99", late.p99), ("1", late.max)):
                yield {"driver": driver, "quantile": quantile}, value
