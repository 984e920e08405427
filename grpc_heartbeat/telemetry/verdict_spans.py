"""Spans that tell how the judgement of a peer, and the breaker of its channel, changed.

A change is no part of one beat: silence convicts when a timer says so, and a breaker waits between its states. So each change
is a short span, a trace of its own, with a link to the opening of the present stream and one to the beat that ended last. They
are made whatever a sampler says: changes are few, and what a trace is looked at for.

    grpc_heartbeat.v1.Heartbeat/Keepalive verdict    the verdict changed, or a conviction was put off by a pause of our own
    grpc_heartbeat.v1.Heartbeat/Keepalive breaker    the breaker opened, began to probe, or closed
    grpc_heartbeat.v1.Heartbeat/Keepalive level      the peer is asked in another way, because of what it knows

Attributes, beside those of beats (``beats.py``)
    heartbeat.verdict, heartbeat.verdict.before   what is thought of the peer now, and was before
    heartbeat.breaker                             "open", "half-open" or "closed"
    heartbeat.breaker.generation                  of the connections that are made from now on
    heartbeat.breaker.pause                       seconds until the next probe; heartbeat.breaker.open_for: since it opened
    heartbeat.level, heartbeat.level.before       "heartbeat", "watch", "check" or "transport"
    heartbeat.suspended                           seconds of our own pause, for which the peer is not blamed
    heartbeat.why                                 the reason, for people
    error.type                                    "heartbeat_down" or "heartbeat_stuck", "breaker_open"; with an error status
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer

from grpc_heartbeat.core.breaker import BreakerClosed, BreakerOpened, BreakerProbing
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.heartbeat_events import LevelChanged
from grpc_heartbeat.core.verdicts import JudgementSuspended, VerdictChanged
from grpc_heartbeat.telemetry.beat_context import KEEPALIVE

VERDICT_SPAN = f"{KEEPALIVE} verdict"
BREAKER_SPAN = f"{KEEPALIVE} breaker"
LEVEL_SPAN = f"{KEEPALIVE} level"

Told: TypeAlias = "tuple[str, dict[str, Any], str]"
"""The span's name, its own attributes, and its error's type, or ``""``."""


def _changed(event: VerdictChanged) -> Told:
    values = {"verdict": event.after.value, "verdict.before": event.before.value, "why": event.why}
    return VERDICT_SPAN, values, f"heartbeat_{event.after.value}" if event.after.convicts else ""


def _suspended(event: JudgementSuspended) -> Told:
    return VERDICT_SPAN, {"suspended": event.excused, "why": f"this process paused: {event.cause}"}, ""


def _opened(event: BreakerOpened) -> Told:
    values = {"breaker": "open", "breaker.generation": event.generation, "breaker.pause": event.pause, "why": event.why}
    return BREAKER_SPAN, values, "breaker_open"


def _probing(event: BreakerProbing) -> Told:
    return BREAKER_SPAN, {"breaker": "half-open", "breaker.generation": event.generation}, ""


def _closed(event: BreakerClosed) -> Told:
    values = {"breaker": "closed", "breaker.generation": event.generation, "breaker.open_for": event.open_for}
    return BREAKER_SPAN, values, ""


def _moved(event: LevelChanged) -> Told:
    return LEVEL_SPAN, {"level": event.level.value, "level.before": event.before.value}, ""


CHANGES: Mapping[type[Event], Callable[[Any], Told]] = {
    VerdictChanged: _changed,
    JudgementSuspended: _suspended,
    BreakerOpened: _opened,
    BreakerProbing: _probing,
    BreakerClosed: _closed,
    LevelChanged: _moved,
}


def tell(
    tracer: Tracer, event: Event, attributes: Mapping[str, Any], links: Sequence[Link], subject: str = KEEPALIVE
) -> None:
    """Make the span of ``event``, which is of one of the kinds in ``CHANGES``; ``subject``: what its name begins with."""
    name, values, error = CHANGES[type(event)](event)
    name = subject + name.removeprefix(KEEPALIVE)
    named = {f"heartbeat.{key}": value for key, value in values.items()}
    if error:
        named["error.type"] = error
    span = tracer.start_span(
        name, context=Context(), kind=SpanKind.INTERNAL, attributes={**attributes, **named}, links=links
    )
    if error:
        span.set_status(Status(StatusCode.ERROR, values["why"]))
    span.end()
