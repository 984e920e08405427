"""What the spans of beats on both ends are called, say of whose they are, and send of themselves."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from grpc_heartbeat.config import Identity
from grpc_heartbeat.core import tracecontext

KEEPALIVE = "grpc_heartbeat.v1.Heartbeat/Keepalive"
PING = "grpc_heartbeat.v1.Heartbeat/Ping"
BEAT_SPAN = f"{KEEPALIVE} beat"
OPEN_SPAN = f"{KEEPALIVE} open"
PING_SPAN = PING
SCOPE = "grpc_heartbeat.heartbeat"


def own(identity: Identity, method: str) -> Mapping[str, str]:
    """Return the attributes that say who makes the span."""
    return {
        "service.name": identity.service,
        "service.instance.id": identity.instance,
        "cloud.availability_zone": identity.zone,
        "rpc.system.name": "grpc",
        "rpc.method": method,
    }


def of_strategy(identity: Identity, strategy: str) -> Mapping[str, str]:
    """Return the attributes that say who makes the span of a beat that is no RPC of ours, and over what it is sent."""
    attributes = {name: value for name, value in own(identity, "").items() if not name.startswith("rpc.")}
    return {**attributes, "heartbeat.strategy": strategy}


def of_peer(identity: Identity) -> dict[str, str]:
    """Return the attributes that say who is on the other side."""
    return {"service.peer.name": identity.service, "heartbeat.peer.zone": identity.zone}


def encode(context: SpanContext) -> bytes:
    """Return what a beat carries of its span; ``b""`` if nothing records it."""
    if not context.is_valid:
        return b""
    return tracecontext.encode(tracecontext.TraceContext(context.trace_id, context.span_id, int(context.trace_flags)))


def parent_in(data: bytes) -> Context:
    """Return the context of the span that a beat carries; an empty one if it carries none."""
    context = tracecontext.decode(data)
    if context is None:
        return Context()
    remote = SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=TraceFlags(context.flags))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())
