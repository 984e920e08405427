"""A ``grpc.aio.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from grpc_heartbeat._grpcio_aio import unary_intercepted
from grpc_heartbeat._types import Deserializer, Serializer
from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.droppable_aio import DroppableStreamStream, DroppableStreamUnary, DroppableUnaryStream
from grpc_heartbeat.channel.kinds import STREAMS, TO_INNER, Kind, Kinds, Signature
from grpc_heartbeat.channel.loops_aio import running_loop
from grpc_heartbeat.channel.make import limited, make
from grpc_heartbeat.channel.multicallables_aio import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
    from grpc_heartbeat.inband.policy import InbandPolicy


_STREAMING = {"unary_stream": UnaryStream, "stream_unary": StreamUnary, "stream_stream": StreamStream}
_DROPPABLE = {
    "unary_stream": DroppableUnaryStream,
    "stream_unary": DroppableStreamUnary,
    "stream_stream": DroppableStreamStream,
}


class Channel(Kinds, grpc.aio.Channel):
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

    def _method(self, kind: Kind, signature: Signature) -> Any:
        self._start_heartbeat()
        inband, method, serializer, deserializer = self._kept_alive(kind, *signature[:3])
        inner = make(getattr(self._inner, kind), method, serializer, deserializer, signature[3])
        if kind == "unary_unary":
            if self._limited_inside:
                return inner
            split = (lambda: make(self._inner.unary_stream, *signature)) if self._splits else None
            return limited(UnaryUnary, self._timeouts, False, self, inner, method, self.connection, split)
        if self._limited_inside:
            return _DROPPABLE[kind](inner, method, self.connection)
        made = limited(_STREAMING[kind], self._timeouts, kind in STREAMS, self, inner, method, self.connection)
        return made if inband is None else getattr(inband, kind)(made)

    def _kept_alive(
        self, kind: str, method: str, serializer: Serializer | None, deserializer: Deserializer | None
    ) -> tuple[Any, str, Serializer | None, Deserializer | None]:
        """Return what keeps the streams of a method alive, or ``None``; the method, and its serializers for that."""
        interval = None if self._inband is None or kind == "unary_unary" else self._inband.interval_of(method)
        if interval is None:
            return None, method, serializer, deserializer
        from grpc_heartbeat.inband.client_aio import KeepAlive

        inband = KeepAlive(interval)
        return inband, method, *inband.codecs(kind, serializer, deserializer)

    def __getattr__(self, name: str) -> Any:
        if name in TO_INNER:  # a copy that is being made does not have it yet
            raise AttributeError(name)
        return getattr(self._inner, name)
