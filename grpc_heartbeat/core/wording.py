"""What an early end is called: status, details in words, and facts, from what the core decided and the driver saw.

Every text says what failed, which layer ended it, its limit and where that came from, what the connection was doing, and what
can be done about it. A status that gRPC itself gave keeps its own text in front.
"""

from __future__ import annotations

import re
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


def seconds(value: float) -> str:
    """Return ``value`` as an error says it: to the millisecond, without needless zeros."""
    text = f"{value:.3f}"
    return f"{value:.2g} s" if text in ("0.000", "-0.000") and value else f"{text.rstrip('0').rstrip('.')} s"


def ended_by_layer(
    ending: Ending, method: str, connectivity: str | None = None, last_error: str | None = None
) -> Verdict:
    """Return how a call of ``method`` ends that ``ending`` names as late."""
    layer = ending.layer
    facts = TimeoutFacts(layer, ending.limit, ending.elapsed, ending.source, connectivity, last_error)
    details = (
        f"{method} {_WHAT[layer]} for {seconds(ending.elapsed)}: its {layer} time-out is "
        f"{seconds(ending.limit)} ({ending.source}){_channel(connectivity, last_error)}. {_ADVICE[layer]}"
    )
    return Verdict(_STATUS.get(layer, "DEADLINE_EXCEEDED"), details, facts)


def ended_by_scope(
    scope: Scope, method: str, limit: float | None, elapsed: float, connectivity: str | None = None
) -> Verdict:
    """Return how a call of ``method`` in flight ends when ``scope`` was cancelled."""
    if scope.reason is Reason.CONVICTED:
        facts = TimeoutFacts("breaker", None, elapsed, _BREAKER, connectivity, scope.conviction)
        return Verdict(
            "UNAVAILABLE", f"{method} was ended after {seconds(elapsed)}: {why_cancelled(scope)}. {_MAYBE_DONE}", facts
        )
    expired = scope.reason is Reason.EXPIRED
    facts = TimeoutFacts("scope", limit if expired else None, elapsed, scope.source, connectivity)
    details = f"{method} was ended after {seconds(elapsed)}: {why_cancelled(scope)}{_channel(connectivity)}"
    return Verdict(status_of_scope(scope), details, facts)


def why_cancelled(scope: Scope) -> str:
    """Return in words why ``scope`` was cancelled."""
    rpc = f"the inbound RPC {scope.method}" if scope.method else "the work it belongs to"
    return {
        Reason.EXPIRED: f"the deadline of {rpc} passed",
        Reason.CLIENT_CANCELLED: f"{rpc} was cancelled by its client",
        Reason.DRAINING: f"{rpc} ended because its server is shutting down",
        Reason.PARENT: f"{rpc} was called off by the code around it",
        Reason.CONVICTED: f"the heartbeat breaker opened ({scope.conviction})",
    }.get(scope.reason or Reason.PARENT, f"{rpc} ended")


def status_of_scope(scope: Scope) -> str:
    """Return with which status a call ends when ``scope`` was cancelled."""
    if scope.reason is Reason.CONVICTED:
        return "UNAVAILABLE"
    return "DEADLINE_EXCEEDED" if scope.reason is Reason.EXPIRED else "CANCELLED"


def refused_by_breaker(method: str, refusal: str, why: str) -> Verdict:
    """Return how a call of ``method`` ends that an open breaker does not let through. ``why`` it has opened."""
    facts = TimeoutFacts("breaker", None, 0.0, _BREAKER, None, why)
    return Verdict("UNAVAILABLE", f"{method} was not sent: {refusal}. {_NOTHING_SENT}", facts)


def waited_for_breaker(method: str, limit: float, elapsed: float, refusal: str, why: str) -> Verdict:
    """Return how a call of ``method`` ends whose budget, ``limit`` seconds, was spent waiting for an open breaker."""
    facts = TimeoutFacts("breaker", limit, elapsed, _BREAKER, None, why)
    details = f"{method} was not sent within its {seconds(limit)}: {refusal}. {_NOTHING_SENT}"
    return Verdict("DEADLINE_EXCEEDED", details, facts)


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
    early = limit is None or elapsed < limit - _EARLY
    if early and _by_proxy(status, details):
        facts = TimeoutFacts("proxy", None, elapsed, "proxy", connectivity)
        why = f"a proxy before the server gave up on {method} after {seconds(elapsed)}, by a limit of its own"
        return Verdict(status, f"{details}: {why}. {_MAYBE_DONE}", facts)
    if early and elapsed >= _SHORTEST_IDLE_LIMIT and _cut(status, details):
        facts = TimeoutFacts("proxy", None, elapsed, "proxy", connectivity)
        why = f"a proxy on the way probably cut {method} after {seconds(elapsed)}, because it was idle or took too long for it"
        return Verdict(status, f"{details}: {why}. {_KEEP_ALIVE}", facts)
    if limit is None:
        return None
    if status == "DEADLINE_EXCEEDED" and early:
        facts = TimeoutFacts("total", None, elapsed, "server", connectivity)
        own = f"its own total time-out, {seconds(limit)} ({source_of(timeout, limits, scope, limit)}), was not spent"
        why = f"the server ended {method} after {seconds(elapsed)}, by a limit of its own; {own}"
        return Verdict(status, f"{details}: {why}", facts)
    if status == "DEADLINE_EXCEEDED" or (status == "CANCELLED" and elapsed >= limit):
        source = source_of(timeout, limits, scope, limit)
        facts = TimeoutFacts("total", limit, elapsed, source, connectivity)
        why = f"the total time-out of {method}, {seconds(limit)} ({source}), was spent after {seconds(elapsed)}"
        advice = _MAYBE_DONE if connectivity in (None, "READY") else _NO_CONNECTION
        return Verdict("DEADLINE_EXCEEDED", f"{details}: {why}{_channel(connectivity)}. {advice}", facts)
    return None


_STATUS_OF_SCOPE: dict[Reason | None, tuple[str, ...]] = {
    Reason.EXPIRED: ("CANCELLED", "DEADLINE_EXCEEDED"),
    Reason.CLIENT_CANCELLED: ("CANCELLED",),
    Reason.DRAINING: ("CANCELLED",),
    Reason.PARENT: ("CANCELLED",),
    Reason.CONVICTED: ("CANCELLED", "UNAVAILABLE"),
}
"""With which status gRPC may end a call whose scope was cancelled for that reason."""

_EARLY = 0.02
"""Seconds by which gRPC's own deadline may seem early, because two clocks are read at different instants."""

_BREAKER = "breaker"
_NOTHING_SENT = "Nothing was sent: trying again is safe."
_MAYBE_DONE = "The request may have been carried out: try again only what may be done twice."
_NO_CONNECTION = "A connect time-out would have ended it sooner, and have said why there is no connection."

_PROXY_HTTP = re.compile(r"Received http2 header with status: (?:504|408|524)\b")
"""What gRPC's C-core says of an HTTP error without gRPC's trailers: 504 is the answer of nginx, HAProxy, Caddy and Traefik when
a server is slow, 408 theirs and Envoy's when the request is, 524 Cloudflare's."""

_PROXY_TEXTS = frozenset(
    {
        "upstream request timeout",
        "upstream max stream duration reached",
        "downstream duration timeout",
        "stream timeout",
    }
)
"""What Envoy, and the meshes and balancers that are made of it, send as gRPC's own message."""


def _by_proxy(status: str, details: str) -> bool:
    return status != "OK" and (details in _PROXY_TEXTS or _PROXY_HTTP.match(details) is not None)


_SHORTEST_IDLE_LIMIT = 1.0
"""Seconds: what is reset sooner was not idle. Proxies count in whole seconds."""

_KEEP_ALIVE = (
    "Have the proxy's limit raised or, for an idle stream, keep it alive from inside: inband=InbandPolicy(…) at both ends. "
    "HTTP/2 pings do not help there."
)

_CUTS = {
    "INTERNAL": re.compile(r"\bRST_STREAM\b"),
    "CANCELLED": re.compile(r"\bEND_STREAM flag received\b"),
    "UNKNOWN": re.compile(r"\bEND_STREAM flag received\b"),
}
"""What gRPC's C-core says of a stream that was reset (by Envoy, nginx, Caddy), or ended without gRPC's trailers (by HAProxy).
Servers of gRPC's own end a stream with trailers."""


def _cut(status: str, details: str) -> bool:
    pattern = _CUTS.get(status)
    return pattern is not None and pattern.search(details) is not None


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
