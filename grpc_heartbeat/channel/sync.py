"""A ``grpc.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat._types import Deserializer, Serializer, StreamStreamBase, StreamUnaryBase, UnaryStreamBase
from grpc_heartbeat.channel.connection import Connection
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.channel.multicallables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client import SyncHeartbeat
    from grpc_heartbeat.inband.policy import InbandPolicy


class Channel(grpc.Channel):
    """Wraps ``inner``; closes it when closed. Made by ``insecure_channel``, ``secure_channel`` and ``wrap_channel``.

    Attributes:
        connection: What its calls know of its connection.
        heartbeat: The channel's heartbeat stream, or ``None`` when no policy was given.
    """

    def __init__(
        self,
        inner: grpc.Channel,
        timeouts: Timeouts | TimeoutPolicy | None = None,
        inband: InbandPolicy | None = None,
    ) -> None:
        self._inner = inner
        self._inband = inband
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        self.connection = Connection(inner)
        self.heartbeat: SyncHeartbeat | None = None

    @property
    def plain(self) -> grpc.Channel:
        """The channel that this one wraps."""
        return self._inner

    def start_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        """Hold a heartbeat stream on this channel until it is closed."""
        from grpc_heartbeat.heartbeat.client import SyncHeartbeat  # loads OpenTelemetry

        self.heartbeat = SyncHeartbeat(self._inner, policy, identity, name=name)
        self.heartbeat.owner = weakref.ref(self)
        self.heartbeat.unconnected = self.connection.waited
        self.connection.made = weakref.WeakMethod(self.heartbeat.connected_anew)
        self.heartbeat.start()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        self._inner.subscribe(callback, try_to_connect=bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._inner.unsubscribe(callback)

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        arguments = (method, request_serializer, response_deserializer, _registered_method)
        inner = make(self._inner.unary_unary, *arguments)
        limits = self._timeouts.limits(method, streams=False)
        return UnaryUnary(self, inner, method, limits, lambda: make(self._inner.unary_stream, *arguments))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStreamBase:
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "unary_stream", method, request_serializer, response_deserializer
            )
        inner = make(self._inner.unary_stream, method, request_serializer, response_deserializer, _registered_method)
        limited = UnaryStream(self, inner, method, self._timeouts.limits(method, streams=True))
        return limited if inband is None else inband.unary_stream(limited)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnaryBase:
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "stream_unary", method, request_serializer, response_deserializer
            )
        inner = make(self._inner.stream_unary, method, request_serializer, response_deserializer, _registered_method)
        limited = StreamUnary(self, inner, method, self._timeouts.limits(method, streams=False))
        return limited if inband is None else inband.stream_unary(limited)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStreamBase:
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "stream_stream", method, request_serializer, response_deserializer
            )
        inner = make(self._inner.stream_stream, method, request_serializer, response_deserializer, _registered_method)
        limited = StreamStream(self, inner, method, self._timeouts.limits(method, streams=True))
        return limited if inband is None else inband.stream_stream(limited)

    def _kept_alive(
        self, kind: str, method: str, serializer: Serializer | None, deserializer: Deserializer | None
    ) -> tuple[Any, Serializer | None, Deserializer | None]:
        """Return what keeps the streams of a method alive, or ``None``, and its serializers for that."""
        interval = None if self._inband is None else self._inband.interval_of(method)
        if interval is None:
            return None, serializer, deserializer
        from grpc_heartbeat.inband.client import KeepAlive

        inband = KeepAlive(interval)
        return inband, *inband.codecs(kind, serializer, deserializer)

    def close(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.close()
        self.connection.close()
        self._inner.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
