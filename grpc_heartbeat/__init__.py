"""Deadlines, cancellation and heartbeats for gRPC in Python. This is the sync face; ``grpc_heartbeat.aio`` mirrors it.

Names follow ``grpc``: ``insecure_channel``, ``secure_channel`` and ``server_interceptors`` go where grpc's own would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat import aio, deadline, errors
from grpc_heartbeat._lazy import loader
from grpc_heartbeat._types import ChannelOptions
from grpc_heartbeat.channel.make import check_breaker, connect_options, follow_load, own_connection
from grpc_heartbeat.channel.sync import Channel
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity, PoolPolicy, Timeouts
from grpc_heartbeat.inband.policy import InbandPolicy, checked
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.client import DeadlineClientInterceptor
from grpc_heartbeat.interceptors.server import DeadlineServerInterceptor
from grpc_heartbeat.options import client_options, keepalive_pair, server_options
from grpc_heartbeat.overrides import timeouts, with_timeouts
from grpc_heartbeat.policy import TimeoutPolicy

__all__ = [
    "BreakerPolicy",
    "Channel",
    "HealthBoard",
    "HeartbeatPolicy",
    "Identity",
    "InbandPolicy",
    "PoolPolicy",
    "PooledChannel",
    "ServerPolicy",
    "StreamLimits",
    "TimeoutPolicy",
    "Timeouts",
    "add_to_server",
    "aio",
    "check_options",
    "client_interceptors",
    "client_options",
    "deadline",
    "debug",
    "errors",
    "events",
    "insecure_channel",
    "keepalive_pair",
    "pooled_channel",
    "secure_channel",
    "server_interceptors",
    "server_options",
    "timeouts",
    "with_timeouts",
    "wrap_channel",
]

if TYPE_CHECKING:
    from grpc_heartbeat import debug, events
    from grpc_heartbeat.channel.pooled import PooledChannel
    from grpc_heartbeat.core.stream_limits import StreamLimits
    from grpc_heartbeat.health import HealthBoard
    from grpc_heartbeat.heartbeat.server import add_to_server
    from grpc_heartbeat.options import check_options
else:
    __getattr__ = loader(
        __name__,
        {
            "HealthBoard": "grpc_heartbeat.health",
            "PooledChannel": "grpc_heartbeat.channel.pooled",
            "StreamLimits": "grpc_heartbeat.core.stream_limits",
            "add_to_server": "grpc_heartbeat.heartbeat.server",
            "check_options": "grpc_heartbeat.options.check",
            "debug": "grpc_heartbeat.debug",
            "events": "grpc_heartbeat.events",
        },
    )

__version__ = "0.1.0"


def insecure_channel(
    target: str,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Create a channel as ``grpc.insecure_channel`` does, whose calls inherit deadline and cancellation.

    Args:
        target, options, compression: As for ``grpc.insecure_channel``.
        timeouts: Limits for calls that set none of their own. Default: no limit.
        heartbeat: Hold a heartbeat stream on this channel. Default: none.
        identity: Who this process is, as heartbeats say it. Default: ``Identity()``.
        name: The peer's name in telemetry. Default: ``target``.
        inband: Keep idle streams alive from inside, where the server wants it too. Default: no.
        breaker: Let no calls through while the heartbeats, which it needs, find the peer dead or stuck; end those in flight
            then, and replace the connection. Default: no.

    Raises:
        TypeError, ValueError: an argument is not of that kind or out of range, or there is a breaker without heartbeat.
    """
    policy = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
    wanted = connect_options(options, policy.limits("", streams=False).connect)

    def connect(generation: int) -> grpc.Channel:
        return grpc.insecure_channel(target, options=own_connection(wanted, generation), compression=compression)

    return _made(None, connect, policy, heartbeat, identity, name or target, inband, breaker)


def secure_channel(
    target: str,
    credentials: grpc.ChannelCredentials,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Create a channel as ``grpc.secure_channel`` does; the other arguments are those of ``insecure_channel``."""
    policy = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
    wanted = connect_options(options, policy.limits("", streams=False).connect)

    def connect(generation: int) -> grpc.Channel:
        return grpc.secure_channel(target, credentials, own_connection(wanted, generation), compression)

    return _made(None, connect, policy, heartbeat, identity, name or target, inband, breaker)


def pooled_channel(
    target: str,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    pool: PoolPolicy | None = None,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> PooledChannel:
    """Create a channel of several connections, as ``insecure_channel`` or, with ``credentials``, ``secure_channel`` does.

    Each call goes to the connection with the fewest calls in flight. One that has been idle for a minute is probed by a Ping
    or a health Check; if the peer stays silent, no call goes there any more, and the next that wants it has it replaced.

    Args:
        credentials: For TLS and the like. Default: none, as for ``insecure_channel``.
        pool: How many connections, and when they are probed. Default: ``PoolPolicy()``.
        target, options, compression, timeouts, heartbeat, identity, name, inband, breaker: Of each connection's channel, as
            for ``insecure_channel``; a heartbeat runs on every connection.

    Raises:
        TypeError, ValueError: as for ``insecure_channel``.
    """
    from grpc_heartbeat.channel.pooled import PooledChannel

    check_breaker(breaker, heartbeat)
    own = own_connection(
        list(options or ()), generation=1
    )  # a connection is shared by channels that have equal options
    powers: Any = {
        "timeouts": timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts),
        "heartbeat": heartbeat,
        "identity": identity,
        "name": name,
        "inband": checked(inband),
        "breaker": breaker,
    }

    def make() -> Channel:
        if credentials is None:
            return insecure_channel(target, own, compression, **powers)
        return secure_channel(target, credentials, own, compression, **powers)

    return PooledChannel(make, pool or PoolPolicy(), target)


def wrap_channel(
    channel: grpc.Channel,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Return a channel with this library's powers around one that someone else made, intercepted ones included.

    Closing the returned channel closes ``channel``. Its connection cannot be replaced, because only ``channel`` knows how it is
    made: with ``breaker=``, calls stop and the probes go out on the same channel, so that it is usable again when its
    connection is. gRPC's own keepalive (``client_options``) has a dead one replaced.
    """
    policy = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
    return _made(channel, None, policy, heartbeat, identity, name or "", inband, breaker)


def _made(
    inner: grpc.Channel | None,
    connect: Callable[[int], grpc.Channel] | None,
    timeouts: TimeoutPolicy,
    heartbeat: HeartbeatPolicy | None,
    identity: Identity | None,
    name: str,
    inband: InbandPolicy | None,
    breaker: BreakerPolicy | None,
) -> Channel:
    """Return a channel of ours around ``inner``, or around what ``connect`` makes for each generation of its connection."""
    kept_alive = checked(inband)
    check_breaker(breaker, heartbeat)

    def make(generation: int) -> Channel | None:
        plain = inner if connect is None else connect(generation)
        if plain is None or (connect is None and generation):
            return None
        made = Channel(plain, timeouts, kept_alive)
        made.connection.name = name
        return made

    channel = make(0)
    assert channel is not None
    if breaker is not None:
        from grpc_heartbeat.channel.guarded import GuardedChannel

        channel = GuardedChannel(channel, make, timeouts, breaker)
    if heartbeat is not None:
        channel.start_heartbeat(heartbeat, identity or Identity(), name)
        follow_load(timeouts, channel.heartbeat)
    return channel


def client_interceptors(*, timeouts: Timeouts | TimeoutPolicy | None = None) -> list[DeadlineClientInterceptor]:
    """Return interceptors for ``grpc.intercept_channel``, for those who cannot change how the channel is made."""
    return [DeadlineClientInterceptor(timeouts)]


def server_interceptors(
    *,
    policy: ServerPolicy | None = None,
    accept_after: float | None = DEFAULT_ACCEPT_AFTER,
    inband: InbandPolicy | None = None,
) -> list[Any]:  # of the type that grpc wants; a list of ours would not be one of its
    """Return interceptors for ``grpc.server``; put them before all others.

    They give each handler its caller's deadline and cancellation, tell clients early that a slow handler has their call, and
    hold callers to the server's own limits.

    Args:
        policy: The server's own limits. Default: none.
        accept_after: Seconds, at most 10, after which a handler that still runs has its RPC accepted, by empty initial
            metadata: a client's header limit then knows that the server is at work. Handlers that send initial metadata of
            their own are left alone. ``None`` turns it off. Default 0.02.
        inband: Keep idle streams alive from inside, where the client wants it too. Default: no.

    The interceptor has ``stats()``, ``observers`` and ``drain()``.

    Raises:
        TypeError, ValueError: an argument is not of that kind or out of range.
    """
    inband = checked(inband)
    if inband is None:
        return [DeadlineServerInterceptor(policy, accept_after)]
    from grpc_heartbeat.inband.server import InbandServerInterceptor

    return [InbandServerInterceptor(inband, policy, accept_after)]
