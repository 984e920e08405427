"""Names and rules that the drivers of both stacks share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat.core.events import Event, Observer
from grpc_heartbeat.core.frames import GOODBYE_KEY
from grpc_heartbeat.core.heartbeat_events import FailureCause
from grpc_heartbeat.core.heartbeat_news import HeartbeatEvent

SERVICE = "grpc_heartbeat.v1.Heartbeat"
KEEPALIVE = f"/{SERVICE}/Keepalive"
PING = f"/{SERVICE}/Ping"

HEARS_TRAILERS = ((GOODBYE_KEY, b""),)
"""What a stream is opened with: a server may put its goodbye in the trailers. It can then answer beats at less cost."""

GOODBYE_GRACE = 0.5
"""Seconds that closing waits for the peer to end a stream after our goodbye, before it is cancelled."""

_REFUSALS = frozenset(
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
)


_OVERWRITTEN = (grpc.StatusCode.INTERNAL, "Internal error from Core")
"""What grpc.aio makes of any status that arrives while a write is under way: the peer's own is lost."""


def news(heartbeat: Any, event: Event, beats: Any) -> HeartbeatEvent:
    """Return what observers of all heartbeats hear of an event of this one; ``beats`` has its stream's spans, if any."""
    trace = None if beats is None else beats.ended
    own, policy = heartbeat.identity, heartbeat.policy
    return HeartbeatEvent(event.at, id(heartbeat), heartbeat.name, policy.type, own, heartbeat.snapshot, event, trace)


def failure_cause(code: grpc.StatusCode | None, details: str | None) -> FailureCause:
    """Return what the status that ended a stream says about the peer."""
    if (code, details) == _OVERWRITTEN:
        return "unclear"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "unsupported"
    return "refused" if code in _REFUSALS else "lost"


def describe(code: grpc.StatusCode | None, details: str | None) -> str:
    """Return a status as one line."""
    name = "no status" if code is None else code.name
    return f"{name}: {details}" if details else name


def goodbye_in(trailers: Iterable[tuple[str, str | bytes]] | None) -> bytes | None:
    """Return the goodbye frame in a stream's trailing metadata, or ``None``."""
    return next((value for key, value in trailers or () if key == GOODBYE_KEY and isinstance(value, bytes)), None)


def observer_failed(_observer: Observer, error: Exception) -> None:
    """Record the failure of an observer, which is removed."""
    _faults.record("heartbeat.observer", error)
