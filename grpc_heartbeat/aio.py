"""The asyncio face: the names of ``grpc_heartbeat``, for ``grpc.aio``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from grpc_heartbeat._lazy import loader
from grpc_heartbeat._types import ChannelOptions
from grpc_heartbeat.channel.aio import Channel
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.client_aio import (
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
    "add_to_server",
    "client_interceptors",
    "client_options",
    "insecure_channel",
    "secure_channel",
    "server_interceptors",
    "server_options",
    "wrap_channel",
]

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.server_aio import add_to_server
else:
    __getattr__ = loader(__name__, {"add_to_server": "grpc_heartbeat.heartbeat.server_aio"})


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
) -> Channel:
    """Create a channel as ``grpc.aio.insecure_channel`` does, whose calls inherit deadline and cancellation.

    The keyword-only arguments are those of ``grpc_heartbeat.insecure_channel``. A heartbeat starts with the channel when an
    event loop is running, otherwise with its first use inside one.
    """
    inner = grpc.aio.insecure_channel(target, list(options or ()), compression, _with_ours(interceptors, timeouts))
    channel = Channel(inner, timeouts, limited_inside=bool(interceptors))
    return _with_heartbeat(channel, heartbeat, identity, name or target)


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
) -> Channel:
    """Create a channel as ``grpc.aio.secure_channel`` does; the other arguments are those of ``insecure_channel``."""
    chain = _with_ours(interceptors, timeouts)
    inner = grpc.aio.secure_channel(target, credentials, list(options or ()), compression, chain)
    channel = Channel(inner, timeouts, limited_inside=bool(interceptors))
    return _with_heartbeat(channel, heartbeat, identity, name or target)


def wrap_channel(
    channel: grpc.aio.Channel,
    *,
    timeouts: Timeouts | TimeoutPolicy | None = None,
    heartbeat: HeartbeatPolicy | None = None,
    identity: Identity | None = None,
    name: str | None = None,
) -> Channel:
    """Return a channel with this library's powers around one that someone else made.

    Closing the returned channel closes ``channel``.
    """
    return _with_heartbeat(Channel(channel, timeouts), heartbeat, identity, name or "")


def client_interceptors(*, timeouts: Timeouts | TimeoutPolicy | None = None) -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors for a ``grpc.aio`` channel, one per RPC kind; put them after all others."""
    kinds = (UnaryUnaryDeadline, UnaryStreamDeadline, StreamUnaryDeadline, StreamStreamDeadline)
    return [kind(timeouts) for kind in kinds]


def server_interceptors(
    *, policy: ServerPolicy | None = None, accept_after: float | None = DEFAULT_ACCEPT_AFTER
) -> list[AioDeadlineServerInterceptor]:
    """Return interceptors for ``grpc.aio.server``; put them before all others.

    The arguments are those of ``grpc_heartbeat.server_interceptors``.
    """
    return [AioDeadlineServerInterceptor(policy, accept_after)]


def _with_ours(
    interceptors: Sequence[grpc.aio.ClientInterceptor] | None, timeouts: Timeouts | TimeoutPolicy | None
) -> list[grpc.aio.ClientInterceptor] | None:
    """Put our interceptors behind the application's, so that the time it spends in its own counts."""
    return [*interceptors, *client_interceptors(timeouts=timeouts)] if interceptors else None


def _with_heartbeat(
    channel: Channel, heartbeat: HeartbeatPolicy | None, identity: Identity | None, name: str
) -> Channel:
    if heartbeat is not None:
        channel.plan_heartbeat(heartbeat, identity or Identity(), name)
    return channel
