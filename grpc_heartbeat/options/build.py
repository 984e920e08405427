"""Options from plain words: seconds and yes or no go in, channel arguments in gRPC's own names and units come out.

Names and native defaults: ``catalogue``. A time of a profile stands where an argument is not given.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from grpc_heartbeat.options._checks import count, flag, millis, seconds, size
from grpc_heartbeat.options.profiles import FROM_PROFILE, FromProfile, ProfileName, profile_named

ChannelOptions: TypeAlias = list[tuple[str, int]]

MAX_INTERVAL = 7200.0
"""Longest keepalive interval, in seconds: gRPC's own default for servers."""
MAX_TIMEOUT = 600.0
"""Longest keepalive or connect time-out, in seconds."""
MAX_AGE = 86400.0
"""Longest connection age, grace or idle time, in seconds."""
MIN_CONNECT_TIMEOUT = 0.1
"""gRPC raises shorter limits of a connection attempt to this many seconds."""
MIN_IDLE = 1.0
"""gRPC raises shorter idle times of a client to this many seconds."""


def client_options(
    profile: ProfileName = "default",
    *,
    keepalive_time: float | FromProfile | None = FROM_PROFILE,
    keepalive_timeout: float | FromProfile = FROM_PROFILE,
    permit_without_calls: bool | FromProfile = FROM_PROFILE,
    connect_timeout: float | FromProfile | None = FROM_PROFILE,
    reconnect_max: float | None = None,
    dns_timeout: float | None = None,
    idle_timeout: float | None = None,
    max_receive_bytes: int | None = None,
    max_send_bytes: int | None = None,
) -> ChannelOptions:
    """Return the ``options`` of a channel that notices a lost peer within ``keepalive_time + keepalive_timeout``.

    Args:
        profile: What the arguments that are not given are taken from: ``default``, ``datacenter``, ``behind-proxy`` or
            ``mobile``. The defaults named below are those of ``default``.
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
        connect_timeout: Seconds that one attempt to connect, handshakes included, may take. At least 0.1, at most 600.
            gRPC's limit for an attempt is the larger of the minimum connect time and the current back-off. Default
            ``None``: 20 s, with a back-off that grows to 2 minutes.
            [``grpc.min_reconnect_backoff_ms``; connection-backoff.md]
        reconnect_max: Longest pause between two attempts to connect, in seconds, ±20 %. It also is the limit of an
            attempt where it is longer than ``connect_timeout``. At least 0.1, at most 600. Default: the
            ``connect_timeout``, or 2 minutes if there is none.
            [``grpc.max_reconnect_backoff_ms``, ``grpc.initial_reconnect_backoff_ms``]
        dns_timeout: Seconds that one DNS query may take. At least 0.1, at most 600. Default: the ``connect_timeout``, or
            2 minutes if there is none. [``grpc.dns_ares_query_timeout``]
        idle_timeout: Seconds without a call after which the connection is dropped until the next call. At least 1, at most
            86400. A held stream is a call. Default: 30 minutes. [``grpc.client_idle_timeout_ms``]
        max_receive_bytes: Largest message to receive; -1 for no limit. Default: 4 MiB. [``grpc.max_receive_message_length``]
        max_send_bytes: Largest message to send; -1 for no limit. Default: no limit. [``grpc.max_send_message_length``]

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range; NaN and infinity are.
    """
    base = profile_named(profile)
    time = base.keepalive_time if keepalive_time is FROM_PROFILE else keepalive_time
    timeout = base.keepalive_timeout if keepalive_timeout is FROM_PROFILE else keepalive_timeout
    permit = base.permit_without_calls if permit_without_calls is FROM_PROFILE else permit_without_calls
    connect = base.connect_timeout if connect_timeout is FROM_PROFILE else connect_timeout
    permitted = flag("permit_without_calls", permit)
    options: ChannelOptions = []
    if time is not None:
        options += _keepalive(time, timeout, permitted)
        options.append(("grpc.http2.max_pings_without_data", 0))
    options += _connect(connect, reconnect_max, dns_timeout)
    if idle_timeout is not None:
        idle = millis("idle_timeout", idle_timeout, MAX_AGE, minimum=MIN_IDLE, inclusive=True)
        options.append(("grpc.client_idle_timeout_ms", idle))
    return options + _sizes(max_receive_bytes, max_send_bytes)


def server_options(
    profile: ProfileName = "default",
    *,
    keepalive_time: float | FromProfile | None = FROM_PROFILE,
    keepalive_timeout: float | FromProfile = FROM_PROFILE,
    permit_without_calls: bool | FromProfile = FROM_PROFILE,
    min_client_interval: float | FromProfile = FROM_PROFILE,
    max_ping_strikes: int = 2,
    max_connection_age: float | FromProfile | None = FROM_PROFILE,
    max_connection_age_grace: float | FromProfile | None = FROM_PROFILE,
    max_connection_idle: float | FromProfile | None = FROM_PROFILE,
    max_receive_bytes: int | None = None,
    max_send_bytes: int | None = None,
) -> ChannelOptions:
    """Return the ``options`` of a server that accepts ``client_options()`` and drops clients that are gone.

    Args:
        profile: As for ``client_options``; a client of a profile is allowed by a server of the same.
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
            0 forgives all. At most 1000. [``grpc.http2.max_ping_strikes``, 2]
        max_connection_age: Seconds (gRPC adds or takes up to 10 %) after which a connection is drained, so that clients
            spread over new servers. The GOAWAY is no alarm: calls go to a new connection. Default ``None``: never. At
            most 86400. [``grpc.max_connection_age_ms``; gRFC A9]
        max_connection_age_grace: Seconds that calls may still run on a connection that reached its age. Default
            ``None``: for ever, which leaves a held stream on the old connection. At most 86400.
            [``grpc.max_connection_age_grace_ms``]
        max_connection_idle: Seconds without a call after which a connection is closed. Default ``None``: never. At most
            86400. A held stream counts as a call. [``grpc.max_connection_idle_ms``; gRFC A9]
        max_receive_bytes, max_send_bytes: As for ``client_options``.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument outside its range, NaN or infinite, or a grace without an age.
    """
    base = profile_named(profile)
    time = base.server_keepalive_time if keepalive_time is FROM_PROFILE else keepalive_time
    timeout = base.keepalive_timeout if keepalive_timeout is FROM_PROFILE else keepalive_timeout
    permit = base.permit_without_calls if permit_without_calls is FROM_PROFILE else permit_without_calls
    shortest = base.min_client_interval if min_client_interval is FROM_PROFILE else min_client_interval
    age = base.max_connection_age if max_connection_age is FROM_PROFILE else max_connection_age
    grace = max_connection_age_grace
    if grace is FROM_PROFILE:
        grace = None if age is None else base.max_connection_age_grace
    idle = base.max_connection_idle if max_connection_idle is FROM_PROFILE else max_connection_idle
    permitted = flag("permit_without_calls", permit)
    interval = seconds("min_client_interval", shortest, MAX_INTERVAL, inclusive=True)
    if grace is not None and age is None:
        raise ValueError("max_connection_age_grace has no effect without max_connection_age")
    options: ChannelOptions = []
    if time is not None:
        options += _keepalive(time, timeout, permitted)
    else:
        options.append(("grpc.keepalive_permit_without_calls", permitted))
    options.append(("grpc.http2.min_ping_interval_without_data_ms", math.floor(interval * 1000)))
    options.append(("grpc.http2.max_ping_strikes", count("max_ping_strikes", max_ping_strikes)))
    ages = {"max_connection_age": age, "max_connection_age_grace": grace, "max_connection_idle": idle}
    options += [(f"grpc.{name}_ms", millis(name, limit, MAX_AGE)) for name, limit in ages.items() if limit is not None]
    return options + _sizes(max_receive_bytes, max_send_bytes)


def _keepalive(time: float, timeout: float, permit: int) -> ChannelOptions:
    timeout_ms = millis("keepalive_timeout", timeout, MAX_TIMEOUT)
    return [
        ("grpc.keepalive_time_ms", millis("keepalive_time", time, MAX_INTERVAL)),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),
        ("grpc.keepalive_permit_without_calls", permit),
    ]


def _connect(timeout: float | None, reconnect_max: float | None, dns_timeout: float | None) -> ChannelOptions:
    options: ChannelOptions = []
    if timeout is not None:
        options.append(("grpc.min_reconnect_backoff_ms", _attempt("connect_timeout", timeout)))
    longest = timeout if reconnect_max is None else reconnect_max
    if longest is not None:
        name = "connect_timeout" if reconnect_max is None else "reconnect_max"
        pause = _attempt(name, longest)
        options += [("grpc.initial_reconnect_backoff_ms", min(pause, 1000)), ("grpc.max_reconnect_backoff_ms", pause)]
    query = timeout if dns_timeout is None else dns_timeout
    if query is not None:
        options.append(("grpc.dns_ares_query_timeout", _attempt("dns_timeout", query)))
    return options


def _attempt(name: str, value: float) -> int:
    return millis(name, value, MAX_TIMEOUT, minimum=MIN_CONNECT_TIMEOUT, inclusive=True)


def _sizes(receive: int | None, send: int | None) -> ChannelOptions:
    options: ChannelOptions = []
    if receive is not None:
        options.append(("grpc.max_receive_message_length", size("max_receive_bytes", receive)))
    if send is not None:
        options.append(("grpc.max_send_message_length", size("max_send_bytes", send)))
    return options
