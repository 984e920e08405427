"""A ``grpc.Channel`` whose calls inherit deadline and cancellation from the inbound RPC in whose handler they are made.

Everything that is not ended by us goes to the inner channel's own multicallables and comes back as their own call objects.
With no scope, no policy and no time-out a call costs one attribute test more than grpcio's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from grpc_heartbeat._current import current_scope
from grpc_heartbeat._grpcio import calling, interruptible
from grpc_heartbeat._types import (
    Deserializer,
    Serializer,
    StreamStreamBase,
    StreamUnaryBase,
    UnaryStreamBase,
    UnaryUnaryBase,
)
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.channel.metadata import with_budget
from grpc_heartbeat.channel.scoped import BlockedCall, annotate, hold
from grpc_heartbeat.config import HeartbeatPolicy, Identity, Timeouts
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.outgoing import plan, refuse
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.errors import EndedCall

if TYPE_CHECKING:
    from grpc_heartbeat.heartbeat.client import SyncHeartbeat


class _MultiCallable:
    """What the four kinds share: the inner multicallable, the method's name and the policy.

    It keeps its channel alive, as grpcio's do: a program may hold a stub only.
    """

    def __init__(self, owner: Channel, inner: Any, method: str, total: float | None) -> None:
        self._owner = owner
        self._inner = inner
        self._method = method
        self._total = total

    def _start(
        self,
        start: Callable[..., Any],
        request: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait: Any,
        compress: Any,
    ) -> Any:
        """Start a call that returns at once with its call object."""
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        limit, budget, allowed = plan(timeout, self._total, scope, monotonic())
        if not allowed:
            return EndedCall(refuse(self._method, timeout, self._total, scope, limit))
        if budget is not None:
            metadata = ((BUDGET_KEY, budget),) if metadata is None else with_budget(metadata, budget)
        call = start(request, limit, metadata, credentials, wait, compress)
        if scope is not None:
            hold(scope, call)
        return call


class _BlockingMultiCallable(_MultiCallable):
    """The two kinds with a single response, whose call may block the calling thread."""

    def __init__(self, owner: Channel, inner: Any, method: str, total: float | None) -> None:
        super().__init__(owner, inner, method, total)
        self._interruptible = interruptible(inner)

    def _block(
        self,
        start: Callable[..., Any],
        request: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait: Any,
        compress: Any,
    ) -> Any:
        """Run ``start``, which blocks until the response is there."""
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        started = monotonic()
        limit, budget, allowed = plan(timeout, self._total, scope, started)
        if not allowed:
            raise EndedCall(refuse(self._method, timeout, self._total, scope, limit))
        if budget is not None:
            metadata = ((BUDGET_KEY, budget),) if metadata is None else with_budget(metadata, budget)
        try:
            if scope is None:
                return start(request, limit, metadata, credentials, wait, compress)
            if not self._interruptible:
                start = self._on_future(scope, start)
            # What ``block_in`` does, without its frames: this is the path of every blocking call in a handler.
            call = BlockedCall()
            outer = calling.handle
            scope.adopt(call)
            calling.handle = call
            try:
                return start(request, limit, metadata, credentials, wait, compress)
            finally:
                calling.handle = outer
                scope.members.discard(call)
        except grpc.RpcError as error:
            annotate(error, timeout, self._total, scope, limit, monotonic() - started)
            raise

    def _on_future(self, scope: Scope, start: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``start`` made of public API alone: a future can be cancelled, at the price of a thread switch."""

        def block(*args: Any) -> Any:
            call = self._inner.future(*args)
            hold(scope, call)
            try:
                response = call.result()
            except grpc.FutureCancelledError:
                if isinstance(call, grpc.RpcError):
                    raise call from None
                raise
            return (response, call) if start == self._inner.with_call else response

        return block


class UnaryUnary(_BlockingMultiCallable, UnaryUnaryBase):
    """A unary-unary method."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        if timeout is None and self._total is None and current_scope.get() is None:
            return self._inner(request, None, metadata, credentials, wait_for_ready, compression)
        return self._block(self._inner, request, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(self._inner.with_call, request, timeout, metadata, credentials, wait_for_ready, compression)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner.future, request, timeout, metadata, credentials, wait_for_ready, compression)


class StreamUnary(_BlockingMultiCallable, StreamUnaryBase):
    """A stream-unary method."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(self._inner, request_iterator, timeout, metadata, credentials, wait_for_ready, compression)

    def with_call(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(
            self._inner.with_call, request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(
            self._inner.future, request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )


class UnaryStream(_MultiCallable, UnaryStreamBase):
    """A unary-stream method."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner, request, timeout, metadata, credentials, wait_for_ready, compression)


class StreamStream(_MultiCallable, StreamStreamBase):
    """A stream-stream method."""

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(self._inner, request_iterator, timeout, metadata, credentials, wait_for_ready, compression)


class Channel(grpc.Channel):
    """Wraps ``inner``; closes it when closed. Made by ``insecure_channel``, ``secure_channel`` and ``wrap_channel``.

    Attributes:
        heartbeat: The channel's heartbeat stream, or ``None`` when no policy was given.
    """

    def __init__(self, inner: grpc.Channel, timeouts: Timeouts | None = None) -> None:
        self._inner = inner
        self._total = timeouts.total if timeouts is not None else None
        self.heartbeat: SyncHeartbeat | None = None

    def start_heartbeat(self, policy: HeartbeatPolicy, identity: Identity, name: str) -> None:
        """Hold a heartbeat stream on this channel until it is closed."""
        from grpc_heartbeat.heartbeat.client import SyncHeartbeat  # loads OpenTelemetry

        self.heartbeat = SyncHeartbeat(self._inner, policy, identity, name=name)
        self.heartbeat.owner = weakref.ref(self)
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
        inner = make(self._inner.unary_unary, method, request_serializer, response_deserializer, _registered_method)
        return UnaryUnary(self, inner, method, self._total)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        inner = make(self._inner.unary_stream, method, request_serializer, response_deserializer, _registered_method)
        return UnaryStream(self, inner, method, None)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        inner = make(self._inner.stream_unary, method, request_serializer, response_deserializer, _registered_method)
        return StreamUnary(self, inner, method, self._total)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        inner = make(self._inner.stream_stream, method, request_serializer, response_deserializer, _registered_method)
        return StreamStream(self, inner, method, None)

    def close(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.close()
        self._inner.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
