"""A ``grpc.aio.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat._types import (
    AioStreamStreamBase,
    AioStreamUnaryBase,
    AioUnaryStreamBase,
    AioUnaryUnaryBase,
    Deserializer,
    Serializer,
)
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.channel.multicallables_aio import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from grpc_heartbeat.channel.scoped_aio import running_loop
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat


class Channel(grpc.aio.Channel):
    """Wraps ``inner``; closes it when closed. Made by ``aio.insecure_channel``, ``aio.secure_channel``, ``aio.wrap_channel``.

    With ``limited_inside`` the inner channel has our interceptors behind those of the application, and its calls are left
    as they are.

    Attributes:
        heartbeat: The channel's heartbeat stream, or ``None`` when no policy was given.
    """

    def __init__(
        self, inner: grpc.aio.Channel, timeouts: Timeouts | TimeoutPolicy | None = None, *, limited_inside: bool = False
    ) -> None:
        self._inner = inner
        self._limited_inside = limited_inside
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        self.heartbeat: AioHeartbeat | None = None
        self._heartbeat_started = True

    def plan_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        """Hold a heartbeat stream on this channel, from now or from its first use inside a running loop, to its close."""
        from grpc_heartbeat.heartbeat.client_aio import (
            AioHeartbeat,
        )  # with it comes OpenTelemetry: only where it is used

        self.heartbeat = AioHeartbeat(self._inner, policy, identity, name=name)
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
        inner = make(self._inner.unary_unary, method, request_serializer, response_deserializer, _registered_method)
        return (
            inner
            if self._limited_inside
            else UnaryUnary(self, inner, method, self._timeouts.limits(method, streams=False))
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioUnaryStreamBase:
        self._start_heartbeat()
        inner = make(self._inner.unary_stream, method, request_serializer, response_deserializer, _registered_method)
        return (
            inner
            if self._limited_inside
            else UnaryStream(self, inner, method, self._timeouts.limits(method, streams=True))
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioStreamUnaryBase:
        self._start_heartbeat()
        inner = make(self._inner.stream_unary, method, request_serializer, response_deserializer, _registered_method)
        return (
            inner
            if self._limited_inside
            else StreamUnary(self, inner, method, self._timeouts.limits(method, streams=False))
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> AioStreamStreamBase:
        self._start_heartbeat()
        inner = make(self._inner.stream_stream, method, request_serializer, response_deserializer, _registered_method)
        return (
            inner
            if self._limited_inside
            else StreamStream(self, inner, method, self._timeouts.limits(method, streams=True))
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
