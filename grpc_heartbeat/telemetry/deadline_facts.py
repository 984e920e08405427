"""Deadlines in the spans of others: facts about limits on whatever span is current.

On a server: what was left when the handler started and when it let go, how long the RPC had waited, and why its work was no
longer wanted. On a client: which limit ended a call early, on the span that was current where the call was made; where that one
is not the call's own (it is not of kind CLIENT), as an event of it.

Attributes, all in the namespace ``grpc_heartbeat.deadline``
    remaining_at_entry, remaining_at_exit    seconds of the budget, if there is one; negative when it was overdrawn
    queue_delay                              seconds from the RPC's arrival to its handler's start
    reason                                   why the work was not wanted any more, such as "expired"
    layer, limit, source, elapsed, remaining what ended a call (``events.TimeoutFacts``), and what was left of its budget
    method, status                           which call it was and how it ended; on events only

The span of a server's RPC is current in its handler if whoever makes it stands before our server interceptors.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from grpc_heartbeat._call_events import call_events, rpc_ends, rpc_starts
from grpc_heartbeat.core.call_events import CallEndedEarly
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.server_events import RpcEnded

NAMESPACE = "grpc_heartbeat.deadline."
EVENT = "grpc_heartbeat.call_ended_early"


class DeadlineFacts:
    """Adds the facts from ``start`` to ``stop``."""

    def start(self) -> None:
        """Begin."""
        call_events.add(self._hear_call)
        rpc_starts.add(self._hear_start)
        rpc_ends.add(self._hear_end)

    def stop(self) -> None:
        """Stop; spans keep what they have."""
        call_events.remove(self._hear_call)
        rpc_starts.remove(self._hear_start)
        rpc_ends.remove(self._hear_end)

    def _hear_call(self, event: Event) -> None:
        span = trace.get_current_span()
        if isinstance(event, CallEndedEarly) and span.is_recording():
            facts = event.facts
            found = {
                "layer": facts.layer,
                "limit": facts.limit,
                "source": facts.source,
                "elapsed": facts.elapsed,
                "remaining": event.remaining,
            }
            if getattr(span, "kind", None) is SpanKind.CLIENT:
                span.set_attributes(_named(found))
            else:
                span.add_event(EVENT, _named({**found, "method": event.method, "status": event.status}))

    def _hear_start(self, method: str, now: float, left: float | None, delay: float) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            span.set_attributes(_named({"remaining_at_entry": left, "queue_delay": delay}))

    def _hear_end(self, event: Event) -> None:
        if isinstance(event, RpcEnded):
            span = trace.get_current_span()
            if span.is_recording():
                span.set_attributes(_named({"remaining_at_exit": event.left, "reason": event.reason}))


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {NAMESPACE + name: value for name, value in values.items() if value is not None}
