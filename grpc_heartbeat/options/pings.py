"""Whether a server will put up with a client's PINGs, and when it will not: a model of both ends' counters.

Theory of operation. A quiet client PINGs every ``pace``. The server compares each PING with the one before: too soon is a
strike, and one strike more than it forgives is GOAWAY ``too_many_pings``. Strikes do not fade; they are forgotten only when the
server sends headers, data or a window update, and so is the time of the last PING, which makes the next one free.

How many PINGs are free at the beginning differs by up to two, for reasons that no option decides. At the earliest the client
has just measured the bandwidth-delay product with a PING of its own, and then its first keepalive PING is a strike already. At
the latest the client's first PING goes out together with a window update, the server answers that with one of its own and
forgets, and the second is free as well. So the model plays both and gives the two times; where only the first ends badly the
outcome is uncertain, which is bad enough.

A client whose pace is its keepalive time waits for the answer before it begins to count, so the server never sees its PINGs
closer than that. A client below one second is held to one a second by its own clock, and what the server sees jitters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from grpc_heartbeat.options.settings import CLIENT_PACE, MAX_PINGS, Enforcement, Keepalive

Outcome = Literal["survives", "goaway", "uncertain"]

JITTER = 0.05
"""Share by which the interval of a client that is held to one PING a second varies at the server."""
LATENESS = 0.02
"""Seconds, and share, by which a PING's interval may exceed the keepalive time."""
FREE_AT_MOST = 2


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a quiet connection on which only PINGs are sent.

    Args:
        outcome: ``survives``, ``goaway`` (too_many_pings, calls end as UNAVAILABLE), or ``uncertain``: it depends on details
            that no option decides.
        earliest, latest: Seconds of silence until the GOAWAY; ``None`` where there is none.
        settles: The keepalive time, in seconds, that a C-core client ends up with, because it doubles it with each such GOAWAY;
            ``None`` where there is none.
    """

    outcome: Outcome
    earliest: float | None = None
    latest: float | None = None
    settles: float | None = None


SURVIVES = Fate("survives")


def fate(client: Keepalive, allowed: Enforcement, *, calls: bool) -> Fate:
    """Return what becomes of a quiet connection, with an idle call on it (``calls``) or without any."""
    if not client.on or not (calls or client.permit) or not allowed.max_strikes:
        return SURVIVES
    required = allowed.required(calls=calls)
    earliest = _end(client, required, allowed.max_strikes, free=0, pessimistic=True)
    latest = _end(client, required, allowed.max_strikes, free=FREE_AT_MOST, pessimistic=False)
    if earliest is None:
        return SURVIVES
    return Fate("uncertain" if latest is None else "goaway", earliest, latest, _settles(client, required))


def _end(client: Keepalive, required: float, forgiven: int, *, free: int, pessimistic: bool) -> float | None:
    """When the strikes exceed those that are ``forgiven``, the first ``free`` PINGs left out; ``None`` for never."""
    clock, strikes = 0.0, 0
    for pace, count in ((client.pace, client.max_pings or math.inf), (client.slowest, math.inf)):
        counted = max(0, count - free)
        missing = forgiven + 1 - strikes
        too_soon = _too_soon(client, pace, required, pessimistic=pessimistic)
        if too_soon and counted >= missing:
            return clock + (free + missing) * pace
        if count == math.inf:
            return None
        clock += count * pace
        strikes += int(counted) if too_soon else 0
        free = max(0, free - int(count))
    return None


def _too_soon(client: Keepalive, gap: float, required: float, *, pessimistic: bool) -> bool:
    if pessimistic:
        return gap * (1 - JITTER if client.time < CLIENT_PACE else 1) < required
    return gap * (1 + LATENESS) + LATENESS < required


def _settles(client: Keepalive, required: float) -> float:
    time = client.time
    while max(time, CLIENT_PACE) < required:
        time *= 2
    return time


def why(client: Keepalive, allowed: Enforcement, *, calls: bool) -> str:
    """Say in one sentence what collides."""
    required = allowed.required(calls=calls)
    if not calls and not allowed.permit_without_calls:
        return (
            f"the client PINGs every {client.pace:g} s without calls, which the server does not permit "
            f"(it then demands {required:g} s)"
        )
    throttle = (
        f", then every {client.slowest:g} s ({MAX_PINGS}={client.max_pings})" if client.slowest > client.pace else ""
    )
    return (
        f"the client PINGs every {client.pace:g} s{throttle}; the server counts each within {required:g} s as a strike"
    )
