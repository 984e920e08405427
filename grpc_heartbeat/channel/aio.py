"""A ``grpc.aio.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat._grpcio import unary_intercepted
from grpc_heartbeat._types import (
    AioStreamStreamBase,
    AioStreamUnaryBase,
    AioUnaryStreamBase,
    AioUnaryUnaryBase,
    Deserializer,
    Serializer,
)
from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.droppable_aio import DroppableStreamStream, DroppableStreamUnary, DroppableUnaryStream
from grpc_heartbeat.channel.flight_aio import running_loop
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.channel.multicallables_aio import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
    from grpc_heartbeat.inband.policy import InbandPolicy


class Channel(grpc.aio.Channel):
    """Wraps ``inner``; closes it when closed. Made by ``aio.insecure_channel``, ``aio.secure_channel``, ``aio.wrap_channel``.

    With ``limited_inside`` the inner channel has our interceptors behind those of the application, which limit its calls.

    Attributes:
        connection: What its calls know of its connection.
        heartbeat: The channel's heartbeat stream, or ``None`` when no policy was given.
    """

    def __init__(
        self,
        inner: grpc.aio.Channel,
        timeouts: Timeouts | TimeoutPolicy | None = None,
        *,
        inband: InbandPolicy | None = None,
        limited_inside: bool = False,
        made_here: bool = False,
    ) -> None:
        self._inner = inner
        self._inband = inband
        self.connection = Connection(inner)
        # Other interceptors may see a unary-unary call that is made as a stream; none are known of where we gave none.
        intercepted = unary_intercepted(inner)
        self._splits = not intercepted if made_here else intercepted is False
        self._limited_inside = limited_inside
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        self.heartbeat: AioHeartbeat | None = None
        self._heartbeat_started = True

    @property
    def plain(self) -> grpc.aio.Channel:
        """The channel that this one wraps."""
        return self._inner

    def plan_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        """Hold a heartbeat stream on this channel, from now or from its first use inside a running loop, to its close."""
        from grpc_heartbeat.heartbeat.client_aio import (
            AioHeartbeat,
        )  # with it comes OpenTelemetry: only where it is used

        self.heartbeat = AioHeartbeat(self._inner, policy, identity, name=name)
        self.heartbeat.unconnected = self.connection.waited
        self.connection.made = weakref.WeakMethod(self.heartbeat.connected_anew)
        if not self._limited_inside:  # then our multicallables keep this channel alive
            self.heartbeat.owner = weakref.ref(self)
        self._heartbeat_started = False
        self._start_heartbeat()

    def _start_heartbeat(self) -> None:
        if not self._heartbeat_started and self.heartbeat is not None and running_loop() is not None:
            self._heartbeat_started = True
            self.heartbeat.start()

    async def __aenter__(self) -> Channel:
        self._start_heartbeat()
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        if self.heartbeat is not None and self._heartbeat_started:
            await self.heartbeat.close()
        self._heartbeat_started = True
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        self._start_heartbeat()
        await self._inner.channel_ready()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioUnaryUnaryBase:
        self._start_heartbeat()
        arguments = (method, request_serializer, response_deserializer, _registered_method)
        inner: AioUnaryUnaryBase = make(self._inner.unary_unary, *arguments)
        if self._limited_inside:
            return inner
        limits = self._timeouts.limits(method, streams=False)
        split = (lambda: make(self._inner.unary_stream, *arguments)) if self._splits else None
        return UnaryUnary(self, inner, method, limits, self.connection, split)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioUnaryStreamBase:
        self._start_heartbeat()
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "unary_stream", method, request_serializer, response_deserializer
            )
        arguments = (method, request_serializer, response_deserializer, _registered_method)
        inner = make(self._inner.unary_stream, *arguments)
        if self._limited_inside:
            return DroppableUnaryStream(inner, method, self.connection)
        limits = self._timeouts.limits(method, streams=True)
        limited = UnaryStream(self, inner, method, limits, self.connection)
        return limited if inband is None else inband.unary_stream(limited)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioStreamUnaryBase:
        self._start_heartbeat()
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "stream_unary", method, request_serializer, response_deserializer
            )
        arguments = (method, request_serializer, response_deserializer, _registered_method)
        inner = make(self._inner.stream_unary, *arguments)
        if self._limited_inside:
            return DroppableStreamUnary(inner, method, self.connection)
        limits = self._timeouts.limits(method, streams=False)
        limited = StreamUnary(self, inner, method, limits, self.connection)
        return limited if inband is None else inband.stream_unary(limited)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioStreamStreamBase:
        self._start_heartbeat()
        inband = None
        if self._inband is not None:
            inband, request_serializer, response_deserializer = self._kept_alive(
                "stream_stream", method, request_serializer, response_deserializer
            )
        arguments = (method, request_serializer, response_deserializer, _registered_method)
        inner = make(self._inner.stream_stream, *arguments)
        if self._limited_inside:
            return DroppableStreamStream(inner, method, self.connection)
        limits = self._timeouts.limits(method, streams=True)
        limited = StreamStream(self, inner, method, limits, self.connection)
        return limited if inband is None else inband.stream_stream(limited)

    def _kept_alive(
        self, kind: str, method: str, serializer: Serializer | None, deserializer: Deserializer | None
    ) -> tuple[Any, Serializer | None, Deserializer | None]:
        """Return what keeps the streams of a method alive, or ``None``, and its serializers for that."""
        interval = None if self._inband is None else self._inband.interval_of(method)
        if interval is None:
            return None, serializer, deserializer
        from grpc_heartbeat.inband.client_aio import KeepAlive

        inband = KeepAlive(interval)
        return inband, *inband.codecs(kind, serializer, deserializer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
