"""In-band keepalive on the sync stack's channels: around the calls that this library has limited."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._grpcio_at_once import headers_seen
from grpc_heartbeat._grpcio_beside import sender_of_call, sends_beside
from grpc_heartbeat._types import StreamStreamBase, StreamUnaryBase, UnaryStreamBase
from grpc_heartbeat.channel.delegate import DelegatingCall
from grpc_heartbeat.channel.flight import in_a_thread
from grpc_heartbeat.core.inband import token_in
from grpc_heartbeat.errors import EndedCall
from grpc_heartbeat.inband.beside import Beside
from grpc_heartbeat.inband.end import BEAT, End, InbandStatus, offer
from grpc_heartbeat.inband.messages import Inbound, codecs
from grpc_heartbeat.inband.outlet import Pump


class ClientEnd(End):
    """The client's end of a stream."""

    call: Callable[[], Any] | None = None
    """Returns the call, unless the application has dropped it."""
    _asking = False

    def agree(self, call: Any) -> None:
        """Take in the answer of the server, whose initial metadata has come."""
        self.token = token_in(call.initial_metadata())
        self.refused = self.token is None
        if self.poke is not None:
            self.poke()

    def due(self, now: float) -> bytes | None:
        if self.token is None and not self.refused:
            self._look()
        return super().due(now)

    def _look(self) -> None:
        call = None if self.call is None else self.call()
        if call is None or self._asking:
            return
        seen = headers_seen(call)
        if seen:
            self.agree(call)
        elif seen is None:
            self._asking = True
            in_a_thread(lambda: self.agree(call), "inband.agree")


class InbandCall(DelegatingCall):
    """A call whose stream may carry beats, which the application does not see.

    Attributes:
        inband: What is known of the other end.
    """

    def __init__(self, inner: Any, end: ClientEnd) -> None:
        super().__init__(inner)
        self._end = end

    @property
    def inband(self) -> InbandStatus:
        return self._end.status()

    def __next__(self) -> Any:
        inner, end = self._inner, self._end
        while True:
            try:
                message = next(inner)
            except grpc.RpcError as error:
                return self._raise(error)
            if type(message) is not Inbound:
                end.heard()
                return message
            if end.token is None:
                end.agree(inner)
            message = end.take(message)
            if message is not BEAT:
                return message


class _Method:
    """A method of one kind, around the limited one.

    Args:
        inner: What makes the limited calls.
        interval: Its interval.
    """

    def __init__(self, inner: Any, interval: float) -> None:
        self._inner = inner
        self._interval = interval
        self._beside = sends_beside(inner)

    def _begin(
        self, start: Callable[..., Any], request: Any, metadata: Any, rest: tuple[Any, ...], echoes: bool
    ) -> Any:
        """Start a call that sends one request."""
        end = ClientEnd(self._interval, echoes)
        end.sends = False
        return _held(start(request, rest[0], offer(metadata), *rest[1:]), end)

    def _stream(
        self, start: Callable[..., Any], requests: Any, metadata: Any, rest: tuple[Any, ...], echoes: bool
    ) -> Any:
        """Start a call that sends requests."""
        end = ClientEnd(self._interval, echoes)
        outlet: Beside | Pump = Beside(requests, end) if self._beside else Pump(requests, end)
        call = start(outlet, rest[0], offer(metadata), *rest[1:])
        held = _held(call, end)
        if held is call or not call.add_callback(outlet.stop):
            outlet.stop()
        elif isinstance(outlet, Beside):
            outlet.begin(sender_of_call(call), self._interval)
        return held


def _held(call: Any, end: ClientEnd) -> Any:
    if isinstance(call, EndedCall) or not hasattr(call, "add_callback"):
        return call
    try:
        end.call = weakref.ref(call)
        return InbandCall(call, end)
    except Exception as error:
        _faults.record("inband.call", error)
        return call


class UnaryStream(_Method, UnaryStreamBase):
    """A unary-stream method: beats come, and none go."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._begin(
            self._inner, request, metadata, (timeout, credentials, wait_for_ready, compression), echoes=False
        )


class StreamStream(_Method, StreamStreamBase):
    """A stream-stream method: beats go both ways."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rest = (timeout, credentials, wait_for_ready, compression)
        return self._stream(self._inner, request_iterator, metadata, rest, echoes=True)


class StreamUnary(_Method, StreamUnaryBase):
    """A stream-unary method: beats go, and none come. A blocking call is made by a future, which can be asked things."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self.with_call(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)[0]

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        call = self.future(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        try:
            return call.result(), call
        except grpc.FutureCancelledError:
            if isinstance(call, grpc.RpcError):
                raise call from None
            raise

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rest = (timeout, credentials, wait_for_ready, compression)
        return self._stream(self._inner.future, request_iterator, metadata, rest, echoes=False)


class KeepAlive:
    """What a channel makes for one method.

    Args:
        interval: The method's interval.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval

    codecs = staticmethod(codecs)

    def unary_stream(self, limited: Any) -> UnaryStream:
        return UnaryStream(limited, self._interval)

    def stream_unary(self, limited: Any) -> StreamUnary:
        return StreamUnary(limited, self._interval)

    def stream_stream(self, limited: Any) -> StreamStream:
        return StreamStream(limited, self._interval)
