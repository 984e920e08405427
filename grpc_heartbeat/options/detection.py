"""How long a fault stays unnoticed at most, for four faults, on a connection that is otherwise quiet.

Theory of operation, for C-core on Linux (other systems lack TCP_USER_TIMEOUT; there ``host gone`` is noticed like ``frozen``):

* *Process killed.* The kernel closes its connections: both ends know at once, whatever the options.
* *Host gone.* No packet comes any more. The next PING is not acknowledged by the peer's kernel, which TCP_USER_TIMEOUT
  (``grpc.keepalive_timeout_ms``) and the PING's own timer (``grpc.http2.ping_timeout_ms``) both end; the shorter wins. With
  keepalive off, a client that waits for an answer waits for ever; what it sends is given up after about 15 minutes.
* *Process frozen.* Its kernel still acknowledges. Only the PING's own timer sees it.
* *Handler wedged.* The peer's transport answers PINGs from threads of its own. Nothing here can see it; a deadline can, and
  a heartbeat that asks the application.

The longest wait is one PING interval plus the time-out. A client that has used up its PINGs without data
(``grpc.http2.max_pings_without_data``) has an interval of a minute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from grpc_heartbeat.options.settings import Keepalive

Fault = Literal["process killed", "host gone", "process frozen", "handler wedged"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
Times = Mapping[Fault, float]

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Detection:
    """Seconds until each fault of the peer is noticed at the latest; ``math.inf`` where it never is.

    Args:
        client_in_call: By a client that waits for an answer or holds a quiet stream.
        client_idle: By a client without calls, before its next one.
        server_in_call: By a server, of a client that holds a quiet call.
    """

    client_in_call: Times
    client_idle: Times
    server_in_call: Times


def detection(client: Keepalive, server: Keepalive) -> Detection:
    """Predict when faults are noticed."""
    return Detection(
        client_in_call=_times(client, client.slowest),
        client_idle=_times(client, client.slowest) if client.permit else _times(None, NEVER),
        server_in_call=_times(server, server.time),
    )


def _times(end: Keepalive | None, interval: float) -> dict[Fault, float]:
    if end is None or not end.on:
        host_gone = frozen = NEVER
    else:
        host_gone = interval + min(end.timeout, end.ping_timeout)
        frozen = interval + end.ping_timeout
    return {"process killed": 0.0, "host gone": host_gone, "process frozen": frozen, "handler wedged": NEVER}


def say(seconds: float) -> str:
    """Return a time for people: ``at once``, ``40 s``, ``2 h 20 s``, ``never``."""
    if seconds == NEVER:
        return "never"
    if seconds == 0:
        return "at once"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "min"), (whole % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
