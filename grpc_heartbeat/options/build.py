"""Channel arguments for a client and a server whose keepalive settings agree.

Theory of operation. gRPC's transport keepalive has two sides that are set apart from each other. The client sends
HTTP/2 PINGs; the server counts each PING that comes sooner than it allows as a strike, and after more than
``grpc.http2.max_ping_strikes`` of them ends the connection with GOAWAY ``too_many_pings``, which the client sees as
UNAVAILABLE (gRFC A8). With gRPC's own defaults a server allows one PING in five minutes while a call is held and one
in two hours otherwise, so a client that turns keepalive on is cut off by every server that was left alone. The
functions here write both sides so that they match: ``client_options()`` with its defaults is accepted by
``server_options()`` with its defaults, and ``keepalive_pair()`` derives the server's tolerance from the client's
interval.

Three rules are easy to miss, and are why these are functions:

* gRPC ignores a name it does not know. The server's tolerance is ``grpc.http2.min_ping_interval_without_data_ms``; the
  C macro for it says "MIN_RECV", the string does not.
* ``grpc.keepalive_timeout_ms`` sets TCP_USER_TIMEOUT, which notices a dead network. A frozen process whose kernel still
  acknowledges is noticed only by ``grpc.http2.ping_timeout_ms``, one minute by default. Both get the same value here.
* A client sends only two PINGs between data frames and then falls back to one a minute, unless
  ``grpc.http2.max_pings_without_data`` is 0.

A PING proves that the peer's transport runs, not that its application does; that is what heartbeats are for.

Names and native defaults: ``include/grpc/impl/channel_arg_names.h`` and
``src/core/ext/transport/chttp2/transport/internal_channel_arg_names.h`` of gRPC 1.85.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from grpc_heartbeat.config import check_seconds

ChannelOptions: TypeAlias = list[tuple[str, int]]

MAX_INTERVAL = 7200.0
"""Longest keepalive interval, in seconds: gRPC's own default for servers."""
MAX_TIMEOUT = 600.0
"""Longest keepalive or connect time-out, in seconds."""
MAX_AGE = 86400.0
"""Longest connection age, grace or idle time, in seconds."""
MIN_CONNECT_TIMEOUT = 0.1
"""gRPC raises shorter limits of a connection attempt to this many seconds."""

KEEPALIVE_TIME = 30.0
KEEPALIVE_TIMEOUT = 10.0
SERVER_KEEPALIVE_TIME = 60.0
MIN_CLIENT_INTERVAL = 5.0
"""Half of the 10 s below which gRFC A8 lets no client go, so that no conforming client is ever cut off by jitter."""


@dataclass(frozen=True, slots=True)
class KeepalivePair:
    """Options of the two ends of one connection: pass ``client`` to the channel and ``server`` to the server."""

    client: ChannelOptions
    server: ChannelOptions


def client_options(
    *,
    keepalive_time: float | None = KEEPALIVE_TIME,
    keepalive_timeout: float = KEEPALIVE_TIMEOUT,
    permit_without_calls: bool = True,
    connect_timeout: float | None = None,
) -> ChannelOptions:
    """Return the ``options`` of a channel that notices a lost peer within ``keepalive_time + keepalive_timeout``.

    Args:
        keepalive_time: Seconds without a byte received after which a PING is sent. Default 30, at most 7200. Below 1
            the client still sends no more than one PING a second. ``None`` leaves keepalive off, as gRPC does. The
            server must allow this interval: see ``server_options(min_client_interval=…)``.
            [``grpc.keepalive_time_ms``, native default: off; gRFC A8]
        keepalive_timeout: Seconds that a PING, or sent data, may go unacknowledged before the connection is closed and
            its calls end as UNAVAILABLE. Default 10, at most 600.
            [``grpc.keepalive_timeout_ms``, 20 s; ``grpc.http2.ping_timeout_ms``, 60 s]
        permit_without_calls: Whether to PING while no call is active, so that the first call after a silence does not
            meet a dead connection. Default true; the server must permit it too.
            [``grpc.keepalive_permit_without_calls``, native default: no]
        connect_timeout: Seconds that one attempt to connect, handshakes included, and one DNS query may take. At least
            0.1, at most 600. gRPC's limit for an attempt is the larger of the minimum connect time and the current
            back-off, so the back-off is capped at the same value: a channel that cannot connect tries again about every
            ``connect_timeout`` (within ±20 %). Default ``None``: 20 s, with a back-off that grows to 2 minutes.
            [``grpc.min_reconnect_backoff_ms``, ``grpc.initial_reconnect_backoff_ms``,
            ``grpc.max_reconnect_backoff_ms``, ``grpc.dns_ares_query_timeout``; connection-backoff.md]

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range; NaN and infinity are.
    """
    permit = _flag("permit_without_calls", permit_without_calls)
    options: ChannelOptions = []
    if keepalive_time is not None:
        options += _keepalive(keepalive_time, keepalive_timeout, permit)
        options.append(("grpc.http2.max_pings_without_data", 0))
    if connect_timeout is not None:
        options += _connect(connect_timeout)
    return options


def server_options(
    *,
    keepalive_time: float | None = SERVER_KEEPALIVE_TIME,
    keepalive_timeout: float = KEEPALIVE_TIMEOUT,
    permit_without_calls: bool = True,
    min_client_interval: float = MIN_CLIENT_INTERVAL,
    max_ping_strikes: int = 2,
    max_connection_age: float | None = None,
    max_connection_age_grace: float | None = None,
    max_connection_idle: float | None = None,
) -> ChannelOptions:
    """Return the ``options`` of a server that accepts ``client_options()`` and drops clients that are gone.

    Args:
        keepalive_time: Seconds without a byte received after which the server PINGs its client. Default 60, at most
            7200. ``None`` leaves gRPC's two hours. [``grpc.keepalive_time_ms``]
        keepalive_timeout: Seconds that a PING, or sent data, may go unacknowledged before the connection is closed.
            Default 10, at most 600. [``grpc.keepalive_timeout_ms``, 20 s; ``grpc.http2.ping_timeout_ms``, 60 s]
        permit_without_calls: Whether clients may PING, and the server PINGs, while no call is active. Default true.
            Without it a client that does is cut off. [``grpc.keepalive_permit_without_calls``, native default: no]
        min_client_interval: Seconds between two PINGs of a client below which the second is a strike. Default 5; keep
            it at half of the shortest ``keepalive_time`` of your clients. 0 allows any. At most 7200.
            [``grpc.http2.min_ping_interval_without_data_ms``, 5 minutes; gRFC A8]
        max_ping_strikes: Strikes that are forgiven, counted since the server last sent headers or data. Default 2.
            0 forgives all. [``grpc.http2.max_ping_strikes``, 2]
        max_connection_age: Seconds (±10 %) after which a connection is drained, so that clients spread over new
            servers. Default ``None``: never. At most 86400. [``grpc.max_connection_age_ms``; gRFC A9]
        max_connection_age_grace: Seconds that calls may still run on a connection that reached its age. Default
            ``None``: for ever, which leaves a held stream on the old connection. At most 86400.
            [``grpc.max_connection_age_grace_ms``]
        max_connection_idle: Seconds without a call after which a connection is closed. Default ``None``: never. At most
            86400. A held stream counts as a call. [``grpc.max_connection_idle_ms``; gRFC A9]

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range, NaN or infinite, or a grace without an age.
    """
    permit = _flag("permit_without_calls", permit_without_calls)
    interval = _seconds("min_client_interval", min_client_interval, MAX_INTERVAL, inclusive=True)
    if max_connection_age_grace is not None and max_connection_age is None:
        raise ValueError("max_connection_age_grace has no effect without max_connection_age")
    options: ChannelOptions = []
    if keepalive_time is not None:
        options += _keepalive(keepalive_time, keepalive_timeout, permit)
    else:
        options.append(("grpc.keepalive_permit_without_calls", permit))
    options.append(("grpc.http2.min_ping_interval_without_data_ms", math.floor(interval * 1000)))
    options.append(("grpc.http2.max_ping_strikes", _count("max_ping_strikes", max_ping_strikes)))
    ages = {
        "max_connection_age": max_connection_age,
        "max_connection_age_grace": max_connection_age_grace,
        "max_connection_idle": max_connection_idle,
    }
    options += [(f"grpc.{name}_ms", _millis(name, age, MAX_AGE)) for name, age in ages.items() if age is not None]
    return options


def keepalive_pair(
    *,
    keepalive_time: float = KEEPALIVE_TIME,
    keepalive_timeout: float = KEEPALIVE_TIMEOUT,
    permit_without_calls: bool = True,
    connect_timeout: float | None = None,
) -> KeepalivePair:
    """Return options for both ends, the server made to allow at least twice the rate at which this client PINGs.

    Args:
        keepalive_time: Seconds of silence after which the client PINGs; the server PINGs after twice as long.
            Default 30, at most 3600.
        keepalive_timeout: As for ``client_options`` and ``server_options``, for both ends. Default 10.
        permit_without_calls: The same, for both ends. Default true.
        connect_timeout: As for ``client_options``. Default ``None``.

    Raises:
        TypeError, ValueError: as ``client_options``.
    """
    interval = _seconds("keepalive_time", keepalive_time, MAX_INTERVAL / 2)
    client = client_options(
        keepalive_time=interval,
        keepalive_timeout=keepalive_timeout,
        permit_without_calls=permit_without_calls,
        connect_timeout=connect_timeout,
    )
    server = server_options(
        keepalive_time=interval * 2,
        keepalive_timeout=keepalive_timeout,
        permit_without_calls=permit_without_calls,
        min_client_interval=min(interval / 2, MIN_CLIENT_INTERVAL),
    )
    return KeepalivePair(client, server)


def _keepalive(time: float, timeout: float, permit: int) -> ChannelOptions:
    timeout_ms = _millis("keepalive_timeout", timeout, MAX_TIMEOUT)
    return [
        ("grpc.keepalive_time_ms", _millis("keepalive_time", time, MAX_INTERVAL)),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.keepalive_permit_without_calls", permit),
    ]


def _connect(timeout: float) -> ChannelOptions:
    millis = _millis("connect_timeout", timeout, MAX_TIMEOUT, minimum=MIN_CONNECT_TIMEOUT, inclusive=True)
    return [
        ("grpc.min_reconnect_backoff_ms", millis),
        ("grpc.initial_reconnect_backoff_ms", min(millis, 1000)),
        ("grpc.max_reconnect_backoff_ms", millis),
        ("grpc.dns_ares_query_timeout", millis),
    ]


def _millis(name: str, value: object, maximum: float, *, minimum: float = 0.0, inclusive: bool = False) -> int:
    """Whole milliseconds; a time of less than one is not rounded to none."""
    return max(1, round(_seconds(name, value, maximum, minimum=minimum, inclusive=inclusive) * 1000))


def _seconds(name: str, value: object, maximum: float, *, minimum: float = 0.0, inclusive: bool = False) -> float:
    seconds = check_seconds(name, value, minimum=minimum, inclusive=inclusive)
    if seconds > maximum:
        raise ValueError(f"{name} must be at most {maximum:g} seconds; got {value!r} (were milliseconds meant?)")
    return seconds


def _flag(name: str, value: object) -> int:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__} ({value!r})")
    return int(value)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__} ({value!r})")
    if not 0 <= value <= 1000:
        raise ValueError(f"{name} must be from 0 to 1000; got {value}")
    return value
