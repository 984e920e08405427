"""The asyncio face: the names of ``grpc_heartbeat``, for ``grpc.aio``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

from grpc_heartbeat._lazy import loader
from grpc_heartbeat._types import ChannelOptions
from grpc_heartbeat.channel.aio import Channel
from grpc_heartbeat.channel.make import check_breaker, connect_options, follow_load, own_connection
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Identity, PoolPolicy, Timeouts
from grpc_heartbeat.inband.policy import InbandPolicy, checked
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.client_aio import (
    AioDeadlineClientInterceptor,
    StreamStreamDeadline,
    StreamUnaryDeadline,
    UnaryStreamDeadline,
    UnaryUnaryDeadline,
)
from grpc_heartbeat.interceptors.server_aio import AioDeadlineServerInterceptor
from grpc_heartbeat.options import client_options, server_options
from grpc_heartbeat.policy import TimeoutPolicy

__all__ = [
    "Channel",
    "PooledChannel",
    "add_to_server",
    "client_interceptors",
    "client_options",
    "insecure_channel",
    "pooled_channel",
    "secure_channel",
    "server_interceptors",
    "server_options",
    "wrap_channel",
]

_Chain: TypeAlias = "list[grpc.aio.ClientInterceptor] | None"

if TYPE_CHECKING:
    from grpc_heartbeat.channel.pooled_aio import PooledChannel
    from grpc_heartbeat.heartbeat.server_aio import add_to_server
else:
    __getattr__ = loader(
        __name__,
        {
            "PooledChannel": "grpc_heartbeat.channel.pooled_aio",
            "add_to_server": "grpc_heartbeat.heartbeat.server_aio",
        },
    )


def insecure_channel(
    target: str,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Create a channel as ``grpc.aio.insecure_channel`` does, whose calls inherit deadline and cancellation.

    The keyword-only arguments are those of ``grpc_heartbeat.insecure_channel``. A heartbeat starts with the channel when an
    event loop is running, otherwise with its first use inside one.
    """

    def make(options: list[tuple[str, Any]], chain: _Chain) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(target, options, compression, chain)

    made = _maker(make, options, interceptors, timeouts, checked(inband))
    return _finished(made, timeouts, heartbeat, identity, name or target, breaker)


def secure_channel(
    target: str,
    credentials: grpc.ChannelCredentials,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Create a channel as ``grpc.aio.secure_channel`` does; the other arguments are those of ``insecure_channel``."""

    def make(options: list[tuple[str, Any]], chain: _Chain) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, credentials, options, compression, chain)

    made = _maker(make, options, interceptors, timeouts, checked(inband))
    return _finished(made, timeouts, heartbeat, identity, name or target, breaker)


def pooled_channel(
    target: str,
    options: ChannelOptions | None = None,
    compression: grpc.Compression | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
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

    The other arguments are those of ``grpc_heartbeat.pooled_channel`` and of ``insecure_channel``.
    """
    from grpc_heartbeat.channel.pooled_aio import PooledChannel

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
            return insecure_channel(target, own, compression, interceptors, **powers)
        return secure_channel(target, credentials, own, compression, interceptors, **powers)

    return PooledChannel(make, pool or PoolPolicy(), target)


def wrap_channel(
    channel: grpc.aio.Channel,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
    inband: InbandPolicy | None = None,
    breaker: BreakerPolicy | None = None,
) -> Channel:
    """Return a channel with this library's powers around one that someone else made.

    Closing the returned channel closes ``channel``. Its connection cannot be replaced (see ``grpc_heartbeat.wrap_channel``).
    """
    kept_alive = checked(inband)

    def made(generation: int) -> Channel | None:
        return None if generation else Channel(channel, timeouts, inband=kept_alive)

    return _finished(made, timeouts, heartbeat, identity, name or "", breaker)


def client_interceptors(*, timeouts: Timeouts | TimeoutPolicy | None = None) -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors for a ``grpc.aio`` channel, one per RPC kind; put them after all others.

    They limit what an interceptor can see: not the time to connect, and the header of calls that stream only.
    """
    return [*_interceptors(timeouts)]


def server_interceptors(
    *,
    policy: ServerPolicy | None = None,
    accept_after: float | None = DEFAULT_ACCEPT_AFTER,
    inband: InbandPolicy | None = None,
) -> list[Any]:  # of the type that grpc wants; a list of ours would not be one of its
    """Return interceptors for ``grpc.aio.server``; put them before all others.

    The arguments are those of ``grpc_heartbeat.server_interceptors``.
    """
    inband = checked(inband)
    if inband is None:
        return [AioDeadlineServerInterceptor(policy, accept_after)]
    from grpc_heartbeat.inband.server_aio import AioInbandServerInterceptor

    return [AioInbandServerInterceptor(inband, policy, accept_after)]


def _interceptors(timeouts: Timeouts | TimeoutPolicy | None) -> list[AioDeadlineClientInterceptor]:
    kinds = (UnaryUnaryDeadline, UnaryStreamDeadline, StreamUnaryDeadline, StreamStreamDeadline)
    return [kind(timeouts) for kind in kinds]


def _maker(
    make: Callable[[list[tuple[str, Any]], _Chain], grpc.aio.Channel],
    options: ChannelOptions | None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None,
    timeouts: Timeouts | TimeoutPolicy | None,
    inband: InbandPolicy | None,
) -> Callable[[int], Channel]:
    """Return what makes the channel of a generation: ours around one that ``make`` makes of options and interceptors.

    Our interceptors go behind the application's, so that the time it spends in its own counts.
    """
    policy = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
    wanted = connect_options(options, policy.limits("", streams=False).connect)

    def made(generation: int) -> Channel:
        own = own_connection(wanted, generation) or []
        if not interceptors:
            return Channel(make(own, None), policy, inband=inband, made_here=True)
        ours = _interceptors(policy)
        if inband is not None:
            from grpc_heartbeat.inband.interceptors_aio import kept_alive

            ours = kept_alive(policy, inband)
        channel = Channel(make(own, [*interceptors, *ours]), policy, inband=inband, limited_inside=True)
        for interceptor in ours:
            interceptor.connection = channel.connection
        return channel

    return made


def _finished(
    made: Callable[[int], Channel | None],
    timeouts: Timeouts | TimeoutPolicy | None,
    heartbeat: HeartbeatPolicy | None,
    identity: Identity | None,
    name: str,
    breaker: BreakerPolicy | None,
) -> Channel:
    """Return the channel of the first generation, with heartbeat and breaker if they are wanted."""
    check_breaker(breaker, heartbeat)

    def make(generation: int) -> Channel | None:
        channel = made(generation)
        if channel is not None:
            channel.connection.name = name
        return channel

    channel = make(0)
    assert channel is not None
    if breaker is not None:
        from grpc_heartbeat.channel.guarded_aio import GuardedChannel

        policy = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        channel = GuardedChannel(channel, make, policy, breaker)
    if heartbeat is not None:
        channel.plan_heartbeat(heartbeat, identity or Identity(), name)
        follow_load(timeouts, channel.heartbeat)
    return channel
