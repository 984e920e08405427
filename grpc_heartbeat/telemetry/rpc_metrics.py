"""Metrics of business RPCs: what servers let in and how late, what limits ended on clients.

An RPC is put down when its handler starts, and looked at later, with others. Each is counted then. Its budget and its queue
delay are kept, and recorded when somebody reads the metrics; of more than ``MOST`` RPCs between two readings, every nth
(``core/thinned.py``). So a quantile is right under any load, and the price of measuring does not grow with it; how many RPCs
there were is what ``grpc_heartbeat.server.rpcs`` says.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.labels import BoundedLabel
from grpc_heartbeat.core.server_events import RpcExpired, RpcOverran, RpcRejected
from grpc_heartbeat.core.thinned import Thinned
from grpc_heartbeat.telemetry.instruments import Instruments, Labels, Tally, context_of

MOST = 2_000
BATCH = 256
"""RPCs that are put down before they are looked at."""
LINKED = 32
"""So many of these, the first, have their spans noted, for exemplars: a reading has use for one per bucket."""
MOST_METHODS = 200

Started: TypeAlias = "tuple[str, float | None, float, SpanContext | None]"
"""A method, what was left of the budget, the queue delay, and the span."""


class RpcMetrics:
    """Hears of calls and RPCs."""

    def __init__(self, instruments: Instruments) -> None:
        self._method = BoundedLabel(MOST_METHODS)
        self._early = Tally("method", "layer", "source", "status")
        self._refused = Tally("method", "reason")
        self._put_down: deque[Started] = deque()
        self._started: Thinned[str, Started] = Thinned(MOST)
        self._lock = threading.Lock()
        self._budget = instruments.histogram("grpc_heartbeat.server.budget", "What was left of RPCs' budgets at entry.")
        self._delay = instruments.histogram(
            "grpc_heartbeat.server.queue_delay", "Time from arrival to the handler's start."
        )
        for name, unit, description, values in (
            ("grpc_heartbeat.server.rpcs", "{rpc}", "RPCs whose handlers started.", self._rpcs),
            ("grpc_heartbeat.server.refused", "{rpc}", "RPCs not served, or not to the end.", self._refused.values),
            ("grpc_heartbeat.client.ended_early", "{call}", "Calls ended by a limit.", self._early.values),
        ):
            instruments.counter(name, unit, description, values)

    def hear_call(self, event: Event) -> None:
        """Hear of an outbound call."""
        if isinstance(event, CallEndedEarly):
            facts = event.facts
            self._early.add(self._method(event.method), facts.layer, facts.source.partition(":")[0], event.status)

    def hear_start(self, method: str, now: float, left: float | None, delay: float) -> None:
        """Hear of a handler that starts."""
        put_down = self._put_down
        waiting = len(put_down)
        span = trace.get_current_span().get_span_context() if waiting < LINKED else None
        put_down.append((method, left, delay, span))
        if waiting >= BATCH:
            with self._lock:
                self._look()

    def hear_rpc(self, event: Event) -> None:
        """Hear of an inbound RPC that was refused, or ended by its server."""
        if isinstance(event, RpcRejected):
            self._refused.add(
                self._method(event.method), "minimum_budget" if event.enforced else "minimum_budget_not_enforced"
            )
        elif isinstance(event, (RpcExpired, RpcOverran)):
            self._refused.add(self._method(event.method), "expired" if isinstance(event, RpcExpired) else "overran")

    def _look(self) -> None:
        """Count what was put down, and keep some of it. The lock is held."""
        put_down, started = self._put_down, self._started
        for _ in range(len(put_down)):
            method, left, delay, span = put_down.popleft()
            method = self._method(method)
            if started.wants(method):
                started.keep((method, left, delay, span))

    def _rpcs(self) -> Iterator[tuple[Labels, float]]:
        """Yield the counts. Counters are asked before histograms are read: what they have to say is said now."""
        with self._lock:
            self._look()
            started, counts = self._started.take(), list(self._started.counts.items())
        for method, left, delay, span in started:
            labels, context = {"method": method}, context_of(span)
            self._delay.record(delay, labels, context)
            if left is not None:
                self._budget.record(left, labels, context)
        for method, count in counts:
            yield {"method": method}, count
