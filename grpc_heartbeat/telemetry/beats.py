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

A missed beat's span has an error status and an event "heartbeat.missed". The span of a stream that is opened after another one
has an event "heartbeat.reconnect", which says why that one ended, and a link to its opening. Verdicts and breaker have spans of
their own (``verdict_spans.py``).

The beats of a strategy (``strategies/``) are not RPCs: their spans are named by the strategy, ``http2-ping beat`` for example,
and have ``heartbeat.strategy`` instead of the two of ``rpc``; zone and service of the other side are those that its owner gave.

A span whose provider is the API's no-op has no valid context: nothing is sent then, and the server starts a trace of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from grpc_heartbeat import _faults
from grpc_heartbeat.config import BeatType, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import ServingStatus
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
from grpc_heartbeat.telemetry.beat_context import (
    KEEPALIVE,
    SCOPE,
    encode,
    of_peer,
    of_strategy,
    own,
)
from grpc_heartbeat.telemetry.verdict_spans import CHANGES, tell

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
        strategy: The name of the strategy that sends the beats. Default, ``""``: they are heartbeats.
    """

    def __init__(
        self,
        identity: Identity,
        beat_type: BeatType,
        tracer_provider: trace.TracerProvider | None = None,
        strategy: str = "",
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self.subject = strategy or KEEPALIVE
        """What the names of the spans begin with."""
        self.beat_span = f"{self.subject} beat"
        named = of_strategy(identity, strategy) if strategy else own(identity, KEEPALIVE)
        self.attributes = {**named, "heartbeat.type": beat_type}
        self.peer: dict[str, str] = {}
        """What is known of the other side."""
        self.opened: SpanContext | None = None
        """The opening of the last stream that opened."""
        self.ended: tuple[str, str] | None = None
        """Why the last stream is over, and what kind of end that is."""
        self._last: SpanContext | None = None
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

    def observe(self, event: Event, beats: ClientBeats | None) -> None:
        """Hear an event of the heartbeat, in order; ``beats`` are the spans of its stream, if it has one."""
        if beats is not None:
            beats.observe(event)
            self._last = beats.ended or self._last
        if type(event) in CHANGES:
            if self._sampling is not None:
                self._sampling.notable = True
            try:
                links = [Link(context) for context in (self.opened, self._last) if context is not None]
                tell(self.tracer, event, {**self.attributes, **self.peer}, links, self.subject)
            except Exception as error:
                _faults.record("telemetry.beats.changed", error)


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
            return encode(self._begin(sequence).get_span_context())
        except Exception as error:
            _faults.record("telemetry.beats.start", error)
            return b""

    def _begin(
        self, sequence: int, start_time: int | None = None, extra: Mapping[str, str] = MappingProxyType({})
    ) -> Span:
        span = self._tracing.tracer.start_span(
            self._tracing.beat_span,
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
            self._tracing.peer = {**of_peer(event.identity), "upstream.zone": event.identity.zone}
            self._attributes.update(self._tracing.peer)
        elif isinstance(event, StreamOpening):
            self._start_opening()
        else:
            self._observe_opening(event)

    def _start_opening(self) -> None:
        tracing = self._tracing
        links = [] if tracing.opened is None else [Link(tracing.opened)]
        self._open = tracing.tracer.start_span(
            f"{tracing.subject} open", context=Context(), kind=SpanKind.CLIENT, attributes=self._attributes, links=links
        )
        if tracing.ended is not None:
            why, cause = tracing.ended
            self._open.add_event("heartbeat.reconnect", {"heartbeat.why": why, "heartbeat.cause": cause})

    def _observe_opening(self, event: Event) -> None:
        if isinstance(event, StreamFailed):
            self._tracing.ended = event.why, event.cause
        elif isinstance(event, PeerLeft):
            self._tracing.ended = f"the peer said goodbye: {event.message or event.reason.name.lower()}", "goodbye"
        elif isinstance(event, StreamClosed):
            self._tracing.ended = event.why, "left"
        opening = self._open
        if opening is None:
            return
        if isinstance(event, StreamOpened):
            context = opening.get_span_context()
            if context.is_valid:
                self._links = [Link(context)]
                self._tracing.opened = context
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
