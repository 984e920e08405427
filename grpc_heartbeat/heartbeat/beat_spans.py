"""From answered beats to their spans, away from the thread that answers.

A span processor may take its time, and the thread that answers beats may be the only one that serves requests. So beats are
noted here and made spans of later, with the times that they had, a slot's worth at once. A backlog is bounded; what does not
fit is dropped and counted.
"""

from __future__ import annotations

import time
from collections import deque

from opentelemetry import trace

from grpc_heartbeat._ticks import ticks
from grpc_heartbeat._timers import clock
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Beat
from grpc_heartbeat.core.wheel import COARSEST, Member
from grpc_heartbeat.heartbeat.pool import DaemonPool
from grpc_heartbeat.telemetry.server_beats import ServerBeats

BACKLOG = 10_000
_DELAY = 0.05
_LOOK = 1.0
_NOTHING_RECORDS = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)


class Tracing:
    """Whether beats are traced at all: OpenTelemetry's SDK may be set up at any time, and mostly is not.

    Args:
        explicit: A tracer provider was given, so they are.
    """

    __slots__ = ("_explicit", "_look_at", "_on")

    def __init__(self, explicit: bool) -> None:
        self._explicit = explicit
        self._on = explicit
        self._look_at = 0.0

    def started(self, now: float) -> int:
        """Return when the span of a beat that is here now begins, on the wall clock; 0 if no provider records any.

        A provider that is set later is seen within a second.
        """
        if now >= self._look_at:
            self._look_at = now + _LOOK
            self._on = self._explicit or not isinstance(trace.get_tracer_provider(), _NOTHING_RECORDS)
        return time.time_ns() if self._on else 0  # wall clock: spans are dated


class BeatSpans(Member):
    """Notes beats on any thread, and has their spans made on one of its own."""

    __slots__ = ("_beats", "_noted", "_pool", "dropped")

    grain = COARSEST

    def __init__(self, beats: ServerBeats) -> None:
        self.slot = None
        self._beats = beats
        self._pool = DaemonPool(1, "grpc-heartbeat-spans")
        self._noted: deque[tuple[Beat, Identity | None, int, int]] = deque()
        self.dropped = 0
        """Beats of which no span was made, because too many waited."""

    def note(self, beat: Beat, peer: Identity | None, started: int) -> None:
        """Have a span made of ``beat``, which arrived at ``started`` (``time.time_ns()``) and was answered just now."""
        if tracecontext.unsampled(beat.trace_context):
            return
        if len(self._noted) >= BACKLOG:
            self.dropped += 1
            return
        first = not self._noted
        self._noted.append((beat, peer, started, time.time_ns()))  # wall clock: spans are dated
        if first:
            ticks().add(self, clock() + _DELAY)

    def tick(self, now: float) -> float | None:
        self._pool.submit(self._record)
        return None

    def flush(self) -> None:
        """Make spans now of what was noted so far."""
        ticks().remove(self)
        self._record()

    def _record(self) -> None:
        for _ in range(len(self._noted)):
            try:
                beat, peer, started, ended = self._noted.popleft()
            except IndexError:  # a flush took it
                return
            self._beats.answered(beat, peer, started, ended=ended)
        if self._noted:
            ticks().add(self, clock() + _DELAY)
