"""The server's spans of beats, children of the client's by the trace context that beats carry."""

from __future__ import annotations

import time

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from grpc_heartbeat import _faults
from grpc_heartbeat.config import Identity
from grpc_heartbeat.core import tracecontext
from grpc_heartbeat.core.frames import Beat
from grpc_heartbeat.telemetry.beat_context import (
    BEAT_SPAN,
    KEEPALIVE,
    PING,
    PING_SPAN,
    SCOPE,
    of_peer,
    own,
    parent_in,
)

_LARGEST = 2**63 - 1
"""What an attribute can hold. Exporters log an error with its traceback for each that is larger, and strangers send those."""


class ServerBeats:
    """The server's spans, made after the fact: nothing of a span exists while the stream could end under it."""

    def __init__(self, identity: Identity, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._own = {**own(identity, KEEPALIVE), "upstream.zone": identity.zone}

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
                **(of_peer(peer) if peer is not None else {}),
                "heartbeat.type": beat.type,
                "heartbeat.sequence": min(beat.sequence, _LARGEST),
            }
            if ping:
                attributes["rpc.method"] = PING
            span = self._tracer.start_span(
                PING_SPAN if ping else BEAT_SPAN,
                context=parent_in(beat.trace_context),
                kind=SpanKind.SERVER,
                attributes=attributes,
                start_time=started,
            )
            span.end(max(ended or time.time_ns(), started))  # wall clock: spans are dated
        except Exception as error:
            _faults.record("telemetry.beats.answered", error)
