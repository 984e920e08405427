"""The four kinds of methods on a sync channel: each call is planned, started by grpcio, and ended by its limits and its scope.

A call with no limit and no scope is grpcio's own, and its blocking form costs a test or two more. Futures and streams with
either are ``LimitedCall`` objects (``limited.py``). A blocking call hands its thread's ``calling.handle`` to whatever may end
it; where grpcio's private names cannot be used, it is made by a future instead.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

import grpc

from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat._grpcio import calling, interruptible, usable
from grpc_heartbeat._grpcio_blocking import Caller, caller, under_handle
from grpc_heartbeat._timers import timers
from grpc_heartbeat._types import StreamStreamBase, StreamUnaryBase, UnaryStreamBase, UnaryUnaryBase
from grpc_heartbeat.channel.as_stream import OneResponse
from grpc_heartbeat.channel.connection import Connection
from grpc_heartbeat.channel.layers import Layers, LimitedMethod
from grpc_heartbeat.channel.limited import HeldFlight, hold
from grpc_heartbeat.channel.metadata import with_own_budget, without_stale_budget
from grpc_heartbeat.channel.refused import refused
from grpc_heartbeat.channel.requests import WatchedRequests
from grpc_heartbeat.channel.scoped import BlockedCall, BlockedFlight, annotate
from grpc_heartbeat.config import MAX_SECONDS
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.core.outgoing import plan
from grpc_heartbeat.errors import EndedCall

_GRPCIO = "grpc._channel"
"""Where grpcio's own multicallables are from."""


class Owner(Protocol):
    """The channel that a method belongs to."""

    connection: Connection


class _MultiCallable(LimitedMethod[Layers]):
    """What the four kinds share. It keeps its channel alive, as grpcio's do: a program may hold a stub only."""

    _make_layers = Layers

    def __init__(self, owner: Owner, inner: Any, method: str, limits: Limits) -> None:
        self._owner = owner
        self._connection = owner.connection
        self._inner = inner
        self._method = method
        self.limit(limits)

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
        overrides = current_overrides.get()
        layers = self._layers if overrides is None else self._changed(overrides)
        limits = layers.limits
        started = monotonic()
        limit, budget, allowed = plan(timeout, limits.total, scope, started)
        if not allowed:
            return EndedCall(refused(self._method, timeout, limits, scope, limit, self._connection))
        if budget is not None or metadata is not None:
            metadata = with_own_budget(metadata, budget, limit)
        if scope is None and limit is None and not layers.watched:
            return start(request, None, metadata, credentials, wait, compress)
        flight = HeldFlight(self._method, layers, started, self._connection, timeout, scope, limit)
        if layers.watched:
            flight.ready = self._connection.ready()
            if limits.write is not None:
                request = WatchedRequests(request, flight.guard)
            if limits.header is not None:
                start = self._split(flight, start)
        return hold(flight, start(request, limit, metadata, credentials, wait, compress))

    def _changed(self, overrides: Any) -> Layers:
        return Layers(self._limits.changed(overrides), self._without, fixed=False)

    def _split(self, flight: HeldFlight, start: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``start`` so that initial metadata is read before the response. Most kinds do that anyway."""
        return start


class _BlockingMultiCallable(_MultiCallable):
    """The two kinds with a single response, whose call may block the calling thread."""

    def __init__(self, owner: Owner, inner: Any, method: str, limits: Limits) -> None:
        super().__init__(owner, inner, method, limits)
        self._interruptible = interruptible(inner)
        self._call = caller(inner)
        self._with_call = under_handle(inner.with_call)

    def future(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Start the call and return at once."""
        raise NotImplementedError

    def _block(
        self,
        start: Callable[..., Any],
        call_with: Caller,
        request: Any,
        timeout: Any,
        metadata: Any,
        credentials: Any,
        wait: Any,
        compress: Any,
    ) -> Any:
        """Run ``start``, which blocks until the response is there; ``call_with`` is the same with a handle to end it by."""
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        overrides = current_overrides.get()
        layers = self._layers if overrides is None else self._changed(overrides)
        if not self._interruptible and (scope is not None or layers.watched):
            return self._by_future(start, request, timeout, metadata, credentials, wait, compress)
        limits = layers.limits
        started = monotonic()
        limit, budget, allowed = plan(timeout, limits.total, scope, started)
        if not allowed:
            raise EndedCall(refused(self._method, timeout, limits, scope, limit, self._connection))
        if budget is not None or metadata is not None:
            metadata = with_own_budget(metadata, budget, limit)
        flight = None
        call: BlockedCall
        try:
            if layers.watched and not ((ready := self._connection.ready()) and layers.on_ready is None):
                call = flight = BlockedFlight(self._method, layers, started, self._connection)
                flight.ready = ready
                flight.split = limits.header is not None
                if limits.write is not None:
                    request = WatchedRequests(request, flight.guard)
                flight.begin()
            elif scope is None:
                return start(request, limit, metadata, credentials, wait, compress)
            else:
                call = BlockedCall()
            # What ``block_in`` does, without its frame: this is the way of every blocking call that something may end.
            if scope is not None:
                scope.adopt(call)
            try:
                return call_with(call, request, limit, metadata, credentials, wait, compress)
            finally:
                if flight is not None:
                    flight.done()
                if scope is not None:
                    scope.release(call)
        except grpc.RpcError as error:
            elapsed = monotonic() - started
            annotate(error, self._connection, flight, self._method, timeout, limits, scope, limit, elapsed)
            raise

    def _by_future(self, start: Callable[..., Any], *args: Any) -> Any:
        """Do what ``start(*args)`` does by public API alone: a future can be cancelled, at the price of a thread switch."""
        call = self.future(*args)
        try:
            response = call.result()
        except grpc.FutureCancelledError:
            if isinstance(call, grpc.RpcError):
                raise call from None
            raise
        return (response, call) if start == self._inner.with_call else response


class UnaryUnary(_BlockingMultiCallable, UnaryUnaryBase):
    """A unary-unary method."""

    _without: tuple[Part, ...] = ("idle", "write")

    def __init__(self, owner: Owner, inner: Any, method: str, limits: Limits, as_stream: Callable[[], Any]) -> None:
        if not usable() and type(inner).__module__ != _GRPCIO:
            # Somebody's interceptors may make something else of a stream, and a unary call's headers cannot be seen.
            self._without = (*self._without, "header")
        super().__init__(owner, inner, method, limits)
        self._as_stream = as_stream

    def limit(self, limits: Limits) -> None:
        super().limit(limits)
        on_ready = self._layers.on_ready
        self._lane = None if on_ready is None else timers().lane(on_ready)
        self._plain = limits.total is None and not self._layers.watched

    def _split(self, flight: HeldFlight, start: Callable[..., Any]) -> Callable[..., Any]:
        if not self._interruptible:
            return lambda *args: OneResponse(self._as_stream()(*args))

        def begin(*args: Any) -> Any:
            calling.split = True
            try:
                return start(*args)
            finally:
                flight.splits = not calling.split
                calling.split = False

        return begin

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        scope = current_scope.get()
        if scope is None and timeout is None and self._plain and current_overrides.get() is None:
            if metadata is not None:
                metadata = without_stale_budget(metadata, None)
            return self._inner(request, None, metadata, credentials, wait_for_ready, compression)
        if (
            metadata is not None
            or not self._interruptible
            or current_overrides.get() is not None
            or (scope is not None and (scope.reason is not None or scope.finished))
            or (timeout is not None and not (type(timeout) is float and 0.0 < timeout <= MAX_SECONDS))
        ):
            return self._block(
                self._inner, self._call, request, timeout, metadata, credentials, wait_for_ready, compression
            )
        # What ``_block`` does, in one frame, for a call without metadata: it is the most frequent one.
        started = monotonic()
        layers = self._layers
        limit = timeout
        exact = False
        total = layers.limits.total
        if total is not None and (limit is None or total < limit):
            limit, exact = total, True
        if scope is not None and scope.deadline is not None:
            exact = True
            left = scope.deadline - started
            if limit is None or left < limit:
                limit = left
                if left <= 0:
                    raise EndedCall(refused(self._method, timeout, layers.limits, scope, limit, self._connection))
        metadata = ((BUDGET_KEY, str(int(limit * 1e6))),) if exact and limit is not None else None
        flight: BlockedFlight | None = None
        call: BlockedCall
        try:
            if layers.watched and (not (ready := self._connection.ready()) or layers.on_ready is not None):
                call = flight = BlockedFlight.__new__(BlockedFlight)  # what its __init__ does
                flight.method = self._method
                flight.layers = layers
                flight.started = started
                flight.line = self._connection  # pyright: ignore[reportAttributeAccessIssue]  # it is a Line
                flight.split = layers.limits.header is not None
                if ready and self._lane is not None:
                    flight.start(self._lane, started)
                else:
                    flight.ready = ready
                    flight.begin()
            elif scope is None:
                return self._inner(request, limit, metadata, credentials, wait_for_ready, compression)
            else:
                call = BlockedCall()
            if scope is not None:  # what ``adopt`` does
                scope.members.add(call)
                if not scope.watched:
                    scope.watch()
                if scope.reason is not None:
                    call.scope_cancelled(scope)
            try:
                return self._call(call, request, limit, metadata, credentials, wait_for_ready, compression)
            finally:
                if scope is not None:  # what ``release`` does
                    scope.members.discard(call)
                    if scope.ended:
                        scope.release(call)
                if flight is not None:
                    flight.done()
        except grpc.RpcError as error:
            elapsed = monotonic() - started
            annotate(error, self._connection, flight, self._method, timeout, layers.limits, scope, limit, elapsed)
            raise

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(
            self._inner.with_call, self._with_call, request, timeout, metadata, credentials, wait_for_ready, compression
        )

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

    _without = ("idle",)

    def __call__(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._block(
            self._inner, self._call, request_iterator, timeout, metadata, credentials, wait_for_ready, compression
        )

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
            self._inner.with_call,
            self._with_call,
            request_iterator,
            timeout,
            metadata,
            credentials,
            wait_for_ready,
            compression,
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

    _streams = True
    _without = ("write",)

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

    _streams = True

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
