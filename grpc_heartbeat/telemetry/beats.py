"""Spans of heartbeats: each beat is one CLIENT span and one SERVER span of one trace.

The client's span runs from the sending of the beat to its echo, its miss or the end of the stream, and ends exactly once. The
server's span is its child, by the trace context that the beat carries, and runs from the beat's arrival to its answer. Each
beat is a trace of its own: a parent that lasts as long as the stream would show every beat as an orphan until it ends. Instead
the client's spans are linked to the short span that opened their stream. No span inherits the current context of the thread
that starts it.

Attributes of both spans
    service.name              the own service
    service.instance.id       the own process
    cloud.availability_zone   the own zone
    service.peer.name         the other side's service
    heartbeat.peer.zone       the other side's zone
    upstream.zone             the zone of the side that is asked, the server's, on both spans
    heartbeat.type            "liveness" or "readiness"
    heartbeat.sequence        the beat's number within its stream
    rpc.system.name           "grpc"
    rpc.method                "grpc_heartbeat.v1.Heartbeat/Keepalive", or ".../Ping"

A span whose provider is the API's no-op has no valid context: nothing is sent then, and the server starts a trace of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from grpc_heartbeat import _faults
from grpc_heartbeat.config import BeatType, Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Beat, ServingStatus
from grpc_heartbeat.core.heartbeat_events import (
    BeatAbandoned,
    BeatAcked,
    BeatMissed,
    PeerIdentified,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
    StreamOpening,
)
from grpc_heartbeat.core.sampling import BeatSampler, Sampling

KEEPALIVE = "grpc_heartbeat.v1.Heartbeat/Keepalive"
PING = "grpc_heartbeat.v1.Heartbeat/Ping"
BEAT_SPAN = f"{KEEPALIVE} beat"
OPEN_SPAN = f"{KEEPALIVE} open"
PING_SPAN = PING
_SCOPE = "grpc_heartbeat.heartbeat"

_sampler: BeatSampler | None = None


def sample_beats(sampler: BeatSampler | None) -> None:
    """Trace only the beats that ``sampler`` wants, on every stream of this process that is opened from now on.

    ``None``, the default, traces each beat.

    Raises:
        TypeError: ``sampler`` is something else.
    """
    global _sampler
    if sampler is not None and not isinstance(sampler, BeatSampler):
        raise TypeError(f"sampler must be a BeatSampler or None, not {type(sampler).__name__} ({sampler!r})")
    _sampler = sampler


class BeatTracing:
    """Makes the spans of one heartbeat's streams.

    Args:
        tracer_provider: OpenTelemetry's. Default: the global one, also if it is set later.
    """

    def __init__(
        self, identity: Identity, beat_type: BeatType, tracer_provider: trace.TracerProvider | None = None
    ) -> None:
        self.tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self.attributes = {**_own(identity, KEEPALIVE), "heartbeat.type": beat_type}
        self._sampling: Sampling | None = None

    def stream(self) -> ClientBeats:
        """Return the spans of a new stream."""
        sampler = _sampler
        if sampler is None:
            return ClientBeats(self)
        from grpc_heartbeat.telemetry.sampled_beats import SampledBeats

        if self._sampling is None or self._sampling.sampler is not sampler:
            self._sampling = Sampling(sampler)
        return SampledBeats(self, self._sampling)


class ClientBeats:
    """The client's spans on one stream. Beats start on one thread at a time; faults of OpenTelemetry stay in here.

    Attributes:
        ended: The context of the span that the last event ended, if it ended a beat's.
    """

    def __init__(self, tracing: BeatTracing) -> None:
        self._tracing = tracing
        self._attributes = dict(tracing.attributes)
        self._open: Span | None = None
        self._links: list[Link] = []
        self._spans: dict[int, Span] = {}
        self.ended: SpanContext | None = None

    def start(self, sequence: int) -> bytes:
        """Begin the span of a beat that is about to be sent; return the trace context to send with it, or ``b""``."""
        try:
            return _encode(self._begin(sequence).get_span_context())
        except Exception as error:
            _faults.record("telemetry.beats.start", error)
            return b""

    def _begin(
        self, sequence: int, start_time: int | None = None, extra: Mapping[str, str] = MappingProxyType({})
    ) -> Span:
        span = self._tracing.tracer.start_span(
            BEAT_SPAN,
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, "heartbeat.sequence": sequence, **extra},
            links=self._links,
            start_time=start_time,
        )
        self._spans[sequence] = span
        return span

    def drop(self, sequence: int) -> None:
        """End the span of a beat that was not sent after all."""
        self._end(sequence, "abandoned", "the stream ended before the beat was sent")

    def observe(self, event: Event) -> None:
        """Hear an event of the stream, in order."""
        self.ended = None
        try:
            self._observe(event)
        except Exception as error:
            _faults.record("telemetry.beats.observe", error)

    def _observe(self, event: Event) -> None:
        if isinstance(event, BeatAcked):
            span = self._spans.pop(event.sequence, None)
            if span is not None:
                self._end_acked(span, event)
        elif isinstance(event, BeatMissed):
            self._end(event.sequence, "missed", event.why, consecutive=event.consecutive)
        elif isinstance(event, BeatAbandoned):
            self._end(event.sequence, "abandoned", event.why)
        elif isinstance(event, PeerIdentified):
            self._attributes.update(_peer(event.identity), **{"upstream.zone": event.identity.zone})
        elif isinstance(event, StreamOpening):
            self._open = self._tracing.tracer.start_span(
                OPEN_SPAN, context=Context(), kind=SpanKind.CLIENT, attributes=self._attributes
            )
        else:
            self._observe_opening(event)

    def _observe_opening(self, event: Event) -> None:
        opening = self._open
        if opening is None:
            return
        if isinstance(event, StreamOpened):
            context = opening.get_span_context()
            self._links = [Link(context)] if context.is_valid else []
        elif isinstance(event, StreamFailed):
            opening.set_status(Status(StatusCode.ERROR, event.why))
            opening.set_attribute("error.type", event.cause)
        elif not isinstance(event, (PeerLeft, StreamClosed)):
            return
        self._open = None
        opening.end()

    def _end_acked(self, span: Span, event: BeatAcked) -> None:
        span.set_attribute("heartbeat.outcome", "acked")
        if event.ack.status is not ServingStatus.UNKNOWN:
            span.set_attribute("heartbeat.serving_status", event.ack.status.name)
        self._close(span)

    def _end(self, sequence: int, outcome: str, why: str, **details: int) -> None:
        span = self._spans.pop(sequence, None)
        if span is None:
            return
        span.set_attribute("heartbeat.outcome", outcome)
        if outcome == "missed":
            span.add_event(
                "heartbeat.missed", {"heartbeat.why": why, **{f"heartbeat.{k}": v for k, v in details.items()}}
            )
            span.set_attribute("error.type", "heartbeat_missed")
            span.set_status(Status(StatusCode.ERROR, why))
        self._close(span)

    def _close(self, span: Span) -> None:
        span.end()
        self.ended = span.get_span_context()


class ServerBeats:
    """The server's spans, made after the fact: nothing of a span exists while the stream could end under it."""

    def __init__(self, identity: Identity, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        self._own = {**_own(identity, KEEPALIVE), "upstream.zone": identity.zone}

    def answered(
        self, beat: Beat, peer: Identity | None, started: int, *, ping: bool = False, ended: int | None = None
    ) -> None:
        """Record that ``beat``, which arrived at ``started`` (``time.time_ns()``), was answered at ``ended``, by default now.

        Nothing is recorded of a beat whose client does not trace it.
        """
        if tracecontext.unsampled(beat.trace_context):
            return
        try:
            attributes: dict[str, str | int] = {
                **self._own,
                **(_peer(peer) if peer is not None else {}),
                "heartbeat.type": beat.type,
                "heartbeat.sequence": beat.sequence,
            }
            if ping:
                attributes["rpc.method"] = PING
            span = self._tracer.start_span(
                PING_SPAN if ping else BEAT_SPAN,
                context=_parent(beat.trace_context),
                kind=SpanKind.SERVER,
                attributes=attributes,
                start_time=started,
            )
            span.end(max(ended or time.time_ns(), started))  # wall clock: spans are dated
        except Exception as error:
            _faults.record("telemetry.beats.answered", error)


def _own(identity: Identity, method: str) -> Mapping[str, str]:
    return {
        "service.name": identity.service,
        "service.instance.id": identity.instance,
        "cloud.availability_zone": identity.zone,
        "rpc.system.name": "grpc",
        "rpc.method": method,
    }


def _peer(identity: Identity) -> dict[str, str]:
    return {"service.peer.name": identity.service, "heartbeat.peer.zone": identity.zone}


def _encode(context: SpanContext) -> bytes:
    if not context.is_valid:
        return b""
    return tracecontext.encode(tracecontext.TraceContext(context.trace_id, context.span_id, int(context.trace_flags)))


def _parent(data: bytes) -> Context:
    context = tracecontext.decode(data)
    if context is None:
        return Context()
    remote = SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=TraceFlags(context.flags))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())
