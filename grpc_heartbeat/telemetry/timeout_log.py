"""One structured record per call that ended early: to logging, to a file of JSON lines, to OpenTelemetry's logs.

Theory of operation. The thread that met the early end notes it in a bounded queue (``core/record_queue.py``); that is all a
call pays. A daemon thread of ours, started with the log, makes records of what is in the queue a few times a second and hands
them to the sinks. A sink that raises is dropped and the fault recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from grpc_heartbeat import _faults
from grpc_heartbeat._call_events import observe_calls, stop_observing_calls
from grpc_heartbeat._timers import clock
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.record_queue import RecordQueue
from grpc_heartbeat.telemetry.timeout_sinks import JsonLinesSink, LoggingSink, OpenTelemetrySink, Record, Sink

__all__ = ["JsonLinesSink", "LoggingSink", "OpenTelemetrySink", "Sink", "TimeoutLog"]

_PAUSE = 0.2
"""Seconds between two rounds of writing."""


class _Noted(NamedTuple):
    """An early end, and what is known only where it is met."""

    event: CallEndedEarly
    unix_nano: int
    span: SpanContext
    load: dict[str, Any] | None


class TimeoutLog:
    """Records calls that end early, from ``start`` to ``close``; also a context manager.

    Args:
        sinks: Where records go.
        identity: Who this process is, for the fields ``service`` and ``zone``. Default ``Identity()``.
        capacity: Records that may wait to be written. Default 10,000.
        per_second: Records taken in on average; bursts up to ``capacity`` pass. Default 2,000 (120,000 a minute).
        load: Called for each record to say how busy the process is; it must be quick. Where it raises, the record does not
            say. Default: none.

    Raises:
        ValueError: no sink, or a bound that is not positive.
    """

    def __init__(
        self,
        *sinks: Sink,
        identity: Identity | None = None,
        capacity: int = 10_000,
        per_second: float = 2_000.0,
        load: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        if not sinks:
            raise ValueError("TimeoutLog needs a sink, such as LoggingSink() or JsonLinesSink(path)")
        if capacity < 1 or not per_second > 0:
            raise ValueError(f"capacity and per_second must be positive; got {capacity!r} and {per_second!r}")
        self._sinks = list(sinks)
        self._identity = identity or Identity()
        self._load = load
        self._queue: RecordQueue[_Noted] = RecordQueue(capacity, per_second, clock())
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """How many records were not taken in, by cause: ``full`` and ``over_rate``."""
        return {"full": self._queue.full, "over_rate": self._queue.over_rate}

    @property
    def accepted(self) -> int:
        """How many records were taken in."""
        return self._queue.accepted

    def start(self) -> TimeoutLog:
        """Begin; calling it again does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="grpc-heartbeat timeout log", daemon=True)
            self._thread.start()
            observe_calls(self._observe)
        return self

    def close(self) -> None:
        """Write what is queued, end the thread and close the sinks. Idempotent."""
        stop_observing_calls(self._observe)
        if not self._closing.is_set():
            self._closing.set()
            if self._thread is None:
                self._end()
            else:
                self._thread.join()

    def __enter__(self) -> TimeoutLog:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _observe(self, event: Event) -> None:
        if isinstance(event, CallEndedEarly):
            load = None if self._load is None else _measured(self._load)
            at = time.time_ns()  # wall clock: for people
            noted = _Noted(event, at, trace.get_current_span().get_span_context(), load)
            self._queue.offer(noted, clock())

    def _record(self, noted: _Noted) -> Record:
        event, facts = noted.event, noted.event.facts
        record: dict[str, Any] = {
            "time_unix_nano": noted.unix_nano,
            "method": event.method,
            "status": event.status,
            "layer": facts.layer,
            "limit": facts.limit,
            "elapsed": facts.elapsed,
            "remaining": event.remaining,
            "source": facts.source,
            "connectivity": facts.connectivity,
            "last_error": facts.last_error,
            "peer": event.peer,
            "service": self._identity.service,
            "zone": self._identity.zone,
        }
        span = noted.span
        if span.is_valid:
            record["trace_id"] = f"{span.trace_id:032x}"
            record["span_id"] = f"{span.span_id:016x}"
            record["trace_flags"] = int(span.trace_flags)
        if noted.load is not None:
            record["load"] = noted.load
        return record

    def _run(self) -> None:
        while not self._closing.wait(_PAUSE):
            self._write()
        self._end()

    def _end(self) -> None:
        self._write()
        for sink in self._sinks:
            self._guarded(sink, sink.close)

    def _write(self) -> None:
        records = [self._record(noted) for noted in self._queue.take()]
        if records:
            for sink in tuple(self._sinks):
                if not self._guarded(sink, sink.write, records):
                    self._sinks.remove(sink)

    def _guarded(self, sink: Sink, function: Callable[..., object], *args: Any) -> bool:
        try:
            function(*args)
        except Exception as error:
            _faults.record(f"timeout_log.{type(sink).__name__}", error)
            return False
        return True


def _measured(load: Callable[[], Mapping[str, Any]]) -> dict[str, Any] | None:
    try:
        return dict(load())
    except Exception as error:
        _faults.record("timeout_log.load", error)
        return None
