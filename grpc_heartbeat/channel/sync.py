"""A ``grpc.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat._types import Deserializer, Serializer
from grpc_heartbeat.channel.connection import Connection
from grpc_heartbeat.channel.kinds import STREAMS, TO_INNER, Kind, Kinds, Signature
from grpc_heartbeat.channel.make import limited, make
from grpc_heartbeat.channel.multicallables import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client import SyncHeartbeat
    from grpc_heartbeat.inband.policy import InbandPolicy


_STREAMING = {"unary_stream": UnaryStream, "stream_unary": StreamUnary, "stream_stream": StreamStream}


class Channel(Kinds, grpc.Channel):
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

    def _method(self, kind: Kind, signature: Signature) -> Any:
        if kind == "unary_unary":
            inner = make(self._inner.unary_unary, *signature)
            as_stream = partial(make, self._inner.unary_stream, *signature)
            return limited(UnaryUnary, self._timeouts, False, self, inner, signature[0], as_stream)
        inband, method, serializer, deserializer = self._kept_alive(kind, *signature[:3])
        inner = make(getattr(self._inner, kind), method, serializer, deserializer, signature[3])
        made = limited(_STREAMING[kind], self._timeouts, kind in STREAMS, self, inner, method)
        return made if inband is None else getattr(inband, kind)(made)

    def _kept_alive(
        self, kind: str, method: str, serializer: Serializer | None, deserializer: Deserializer | None
    ) -> tuple[Any, str, Serializer | None, Deserializer | None]:
        """Return what keeps the streams of a method alive, or ``None``; the method, and its serializers for that."""
        interval = None if self._inband is None else self._inband.interval_of(method)
        if interval is None:
            return None, method, serializer, deserializer
        from grpc_heartbeat.inband.client import KeepAlive

        inband = KeepAlive(interval)
        return inband, method, *inband.codecs(kind, serializer, deserializer)

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
        if name in TO_INNER:  # a copy that is being made does not have it yet
            raise AttributeError(name)
        return getattr(self._inner, name)
