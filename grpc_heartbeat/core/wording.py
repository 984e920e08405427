"""What an early end is called: status, details in words, and facts, from what the core decided and the driver saw.

Every text says what failed, which layer ended it, its limit and where that came from, what the connection was doing, and what
can be done about it. A status that gRPC itself gave keeps its own text in front.
"""

from __future__ import annotations

from dataclasses import dataclass

from grpc_heartbeat.core.deadline import normalize_timeout
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.guard import Ending
from grpc_heartbeat.core.limits import EXPLICIT, Limits
from grpc_heartbeat.core.scope import Reason, Scope


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an early end is told.

    Attributes:
        status: The name of the gRPC status code.
        details: For people.
        facts: For programs.
    """

    status: str
    details: str
    facts: TimeoutFacts


_STATUS = {"connect": "UNAVAILABLE"}
_WHAT = {
    "connect": "had no connection",
    "header": "was not accepted by the server",
    "idle": "waited for a message from the server",
    "write": "waited for the server to take a message",
}
_ADVICE = {
    "connect": "Nothing was sent: trying again is safe.",
    "header": "The request was sent and may have been carried out: try again only what may be done twice.",
    "idle": "The call was under way: try again only what may be done twice.",
    "write": "The call was under way: try again only what may be done twice.",
}


def ended_by_layer(
    ending: Ending, method: str, connectivity: str | None = None, last_error: str | None = None
) -> Verdict:
    """Return how a call of ``method`` ends that ``ending`` names as late."""
    layer = ending.layer
    facts = TimeoutFacts(layer, ending.limit, ending.elapsed, ending.source, connectivity, last_error)
    details = (
        f"{method} {_WHAT[layer]} for {ending.elapsed:.3f} s: "
        f"its {layer} time-out is {ending.limit:g} s ({ending.source}){_channel(connectivity, last_error)}. {_ADVICE[layer]}"
    )
    return Verdict(_STATUS.get(layer, "DEADLINE_EXCEEDED"), details, facts)


def ended_by_scope(
    scope: Scope, method: str, limit: float | None, elapsed: float, connectivity: str | None = None
) -> Verdict:
    """Return how a call of ``method`` in flight ends when ``scope`` was cancelled."""
    expired = scope.reason is Reason.EXPIRED
    facts = TimeoutFacts("scope", limit if expired else None, elapsed, scope.source, connectivity)
    details = f"{method} was ended after {elapsed:.3f} s: {why_cancelled(scope)}"
    return Verdict("DEADLINE_EXCEEDED" if expired else "CANCELLED", details, facts)


def why_cancelled(scope: Scope) -> str:
    """Return in words why ``scope`` was cancelled."""
    rpc = f"the inbound RPC {scope.method}" if scope.method else "the work it belongs to"
    return {
        Reason.EXPIRED: f"the deadline of {rpc} passed",
        Reason.CLIENT_CANCELLED: f"{rpc} was cancelled by its client",
        Reason.DRAINING: f"{rpc} ended because its server is shutting down",
        Reason.PARENT: f"{rpc} was called off by the code around it",
    }.get(scope.reason or Reason.PARENT, f"{rpc} ended")


def ended_by_grpc(
    status: str,
    details: str,
    method: str,
    timeout: object,
    limits: Limits,
    scope: Scope | None,
    limit: float | None,
    elapsed: float,
    connectivity: str | None = None,
) -> Verdict | None:
    """Return how the end of a call that gRPC ended is to be told, or ``None`` when it has nothing to do with a limit.

    Args:
        status, details: As gRPC gives them.
        timeout: The call's own time-out.
        limits: Those of its method.
        scope: The scope that it was made in.
        limit: The limit that ``plan`` returned.
        elapsed: Seconds from its start to its end.
    """
    if scope is not None and (limit is None or elapsed < limit) and status in _STATUS_OF_SCOPE.get(scope.reason, ()):
        return ended_by_scope(scope, method, limit, elapsed, connectivity)
    if limit is not None and (status == "DEADLINE_EXCEEDED" or (status == "CANCELLED" and elapsed >= limit)):
        source = source_of(timeout, limits, scope, limit)
        facts = TimeoutFacts("total", limit, elapsed, source, connectivity)
        if elapsed < limit - _EARLY:
            why = f"{method} was ended after {elapsed:.3f} s by the server or a proxy on the way; its own total time-out is"
            return Verdict(status, f"{details}: {why} {limit:.3f} s ({source}){_channel(connectivity)}", facts)
        why = f"the total time-out of {method}, {limit:.3f} s ({source}), was spent after {elapsed:.3f} s"
        return Verdict("DEADLINE_EXCEEDED", f"{details}: {why}{_channel(connectivity)}", facts)
    if status in _PROXY_STATUS and any(sign in details for sign in _PROXY_SIGNS):
        why = f"a proxy before the server gave up on {method} after {elapsed:.3f} s, by a limit of its own"
        return Verdict(status, f"{details}: {why}", TimeoutFacts("proxy", None, elapsed, "proxy", connectivity))
    return None


_STATUS_OF_SCOPE: dict[Reason | None, tuple[str, ...]] = {
    Reason.EXPIRED: ("CANCELLED", "DEADLINE_EXCEEDED"),
    Reason.CLIENT_CANCELLED: ("CANCELLED",),
    Reason.DRAINING: ("CANCELLED",),
    Reason.PARENT: ("CANCELLED",),
}
"""With which status gRPC may end a call whose scope was cancelled for that reason."""

_EARLY = 0.02
"""Seconds by which gRPC's own deadline may seem early, because two clocks are read at different instants."""

_PROXY_STATUS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL")
_PROXY_SIGNS = ("504", "408", "upstream request timeout", "stream timeout", "response timeout")
"""What a slow upstream is called: HTTP 504 (nginx, HAProxy, Caddy, Traefik), Envoy's body text."""


def source_of(timeout: object, limits: Limits, scope: Scope | None, limit: float | None) -> str:
    """Return where ``limit``, a total, came from."""
    if timeout is not None and normalize_timeout(timeout) == limit:
        return EXPLICIT
    if limits.total == limit or scope is None:
        return limits.source("total")
    return scope.source


def _channel(connectivity: str | None, last_error: str | None = None) -> str:
    state = "" if connectivity is None else f"; the channel is {connectivity}"
    return state if last_error is None else f"{state}; last connection error: {last_error}"
