"""The four kinds of methods on an asyncio channel: each call is planned, started by grpcio, and watched over.

What comes back is grpcio's own call object where a call for a single response has neither limit nor scope, else one of
``calls_aio`` around it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _abandoned, _faults, _grpcio_aio
from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat._grpcio_aio_direct import Maker, maker
from grpc_heartbeat._types import AioStreamStreamBase, AioStreamUnaryBase, AioUnaryStreamBase, AioUnaryUnaryBase
from grpc_heartbeat.channel.calls_aio import (
    LimitedStreamStreamCall,
    LimitedStreamUnaryCall,
    LimitedUnaryStreamCall,
    LimitedUnaryUnaryCall,
    SplitUnaryUnaryCall,
)
from grpc_heartbeat.channel.connection_aio import Connection
from grpc_heartbeat.channel.ended_aio import (
    EndedStreamStreamCall,
    EndedStreamUnaryCall,
    EndedUnaryStreamCall,
    EndedUnaryUnaryCall,
)
from grpc_heartbeat.channel.flight_aio import Flight
from grpc_heartbeat.channel.layers import LimitedMethod
from grpc_heartbeat.channel.layers_aio import LoopLayers
from grpc_heartbeat.channel.metadata import with_budget, without_stale_budget
from grpc_heartbeat.channel.refused import refused
from grpc_heartbeat.channel.requests_aio import watched_requests
from grpc_heartbeat.config import MAX_SECONDS
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.core.outgoing import plan
from grpc_heartbeat.core.wording import Verdict

WITHOUT: dict[str, tuple[Part, ...]] = {
    "unary_unary": ("idle", "write"),
    "unary_stream": ("write",),
    "stream_unary": ("idle",),
    "stream_stream": (),
}
"""Layers that mean nothing for a kind: a single message is not waited for as one of a stream."""


class _MultiCallable(LimitedMethod[LoopLayers]):
    """What the four kinds share: the inner multicallable, the method's name and the policy.

    It keeps its channel alive, as grpcio's do: a program may hold a stub only.
    """

    _ended: Callable[[Verdict], Any]
    _call_class: Callable[[Any, Flight], Any]
    _make_layers = LoopLayers
    # A call with a stream of responses is watched over even if nothing limits it, because it may be abandoned.

    def __init__(
        self, owner: grpc.aio.Channel, inner: Any, method: str, limits: Limits, connection: Connection
    ) -> None:
        self._owner = owner
        self._inner = inner
        self._make: Maker = inner
        self._method = method
        self._connection = connection
        self.limit(limits)

    def _start(self, request: Any, timeout: Any, metadata: Any, credentials: Any, wait: Any, compression: Any) -> Any:
        scope = current_scope.get()
        if scope is not None and scope.finished:
            scope = None
        overrides = current_overrides.get()
        layers = self._layers if overrides is None else self._changed(overrides)
        limits = layers.limits
        started = monotonic()
        limit, budget, allowed = plan(timeout, limits.total, scope, started)
        if not allowed:
            return self._ended(refused(self._method, timeout, limits, scope, limit, self._connection))
        if budget is not None:
            if metadata is None and self._make is not self._inner:
                metadata = ((BUDGET_KEY, budget),)
            else:
                metadata = grpc.aio.Metadata(*with_budget(metadata, budget))  # grpc.aio is slower with a tuple
        elif metadata is not None:
            metadata = without_stale_budget(metadata, limit)
        inner, call_class = self._make, self._call_class
        flight = None
        if limit is not None or scope is not None or layers.watched or self._streams:
            flight = Flight()
            flight.method = self._method
            flight.layers = layers
            flight.connection = self._connection
            flight.started = started
            if limit is not None:
                flight.limit = limit
                flight.timeout = timeout
            if scope is not None:
                flight.scope = scope
            if layers.watched:
                try:
                    inner, call_class, request = self._watch(flight, request)
                except Exception as error:
                    _faults.record("channel.watch_aio", error)
        call = inner(
            request,
            timeout=limit,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait,
            compression=compression,
        )
        if flight is None:
            return call
        try:
            limited = call_class(call, flight)
            flight.begin(call)
        except Exception as error:
            _faults.record("channel.begin_aio", error)
            return call
        if _abandoned.enabled:
            flight.made_at = _abandoned.place()
            _abandoned.watch(limited, self._method, flight.made_at)
        return limited

    def _watch(self, flight: Flight, request: Any) -> tuple[Any, Callable[[Any, Flight], Any], Any]:
        """Prepare a call that has more limits than its total; return the multicallable, the call's class and the request."""
        flight.ready = self._connection.ready()
        return self._make, self._call_class, request

    def _changed(self, overrides: Any) -> LoopLayers:
        return LoopLayers(self._limits.changed(overrides), self._without, fixed=False)


class UnaryUnary(_MultiCallable, AioUnaryUnaryBase):
    """A unary-unary method.

    Args:
        owner, inner, method, limits, connection: As for every kind.
        split: Makes the inner multicallable of the same method as one with a response stream; ``None`` where that would not
            be the same call, because interceptors treat it otherwise.
    """

    _ended = EndedUnaryUnaryCall
    _call_class = LimitedUnaryUnaryCall
    _without = WITHOUT["unary_unary"]

    def __init__(
        self,
        owner: grpc.aio.Channel,
        inner: Any,
        method: str,
        limits: Limits,
        connection: Connection,
        split: Callable[[], Any] | None,
    ) -> None:
        super().__init__(owner, inner, method, limits, connection)
        self._make = maker(inner)
        self._make_split = split
        self._in_batches = True
        self._split: Any = None
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        super().limit(limits)
        self._quick = self._make is not self._inner and self._layers.on_ready is None
        """Whether the plainest calls may be made in one frame: there is no header limit, and nobody intercepts them."""
        self._unsplit = LoopLayers(limits, (*self._without, "header"))

    def _watch(self, flight: Flight, request: Any) -> tuple[Any, Callable[[Any, Flight], Any], Any]:
        flight.ready = self._connection.ready()
        layers = flight.layers
        header = layers.limits.header
        if header is None:
            return self._make, LimitedUnaryUnaryCall, request
        if self._make_split is None or (flight.limit is not None and flight.limit <= header):
            # Its headers would be seen with its response only, or its total is spent first.
            flight.layers = self._unsplit if layers.fixed else LoopLayers(layers.limits, ("header",), fixed=False)
            return self._make, LimitedUnaryUnaryCall, request
        if self._in_batches and _grpcio_aio.usable():
            return partial(self._in_two, flight), LimitedUnaryUnaryCall, request
        if self._split is None:
            self._split = self._make_split()
        return self._split, SplitUnaryUnaryCall, request

    def _in_two(self, flight: Flight, request: Any, **options: Any) -> Any:
        """Make a call that tells of its acceptance before its response comes."""
        call = self._make(request, **options)
        if not _grpcio_aio.split(call, options["wait_for_ready"]):
            self._in_batches = False  # the next ones are made as streams; this one's headers come with its response
            flight.layers = LoopLayers(flight.layers.limits, ("header",), fixed=False)
        return call

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        scope = current_scope.get()
        if (
            metadata is not None
            or not self._quick
            or current_overrides.get() is not None
            or (scope is not None and (scope.reason is not None or scope.finished))
            or (timeout is not None and not (type(timeout) is float and 0.0 < timeout <= MAX_SECONDS))
            or _abandoned.enabled
        ):
            return self._start(request, timeout, metadata, credentials, wait_for_ready, compression)
        # What ``_start`` does, in one frame, for a call without metadata: it is the most frequent one.
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
                    return self._ended(refused(self._method, timeout, layers.limits, scope, limit, self._connection))
        if exact and limit is not None:
            metadata = ((BUDGET_KEY, str(int(limit * 1e6))),)
        flight = None
        if limit is not None or scope is not None or layers.watched:
            flight = Flight()
            flight.method = self._method
            flight.layers = layers
            flight.connection = self._connection
            flight.started = started
            flight.limit = limit
            flight.timeout = timeout
            flight.scope = scope
            if layers.watched:
                try:
                    flight.ready = self._connection.ready()
                except Exception as error:
                    _faults.record("channel.watch_aio", error)
        call = self._make(
            request,
            timeout=limit,
            metadata=metadata,
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )
        if flight is None:
            return call
        try:
            limited = LimitedUnaryUnaryCall(call, flight)
            flight.begin(call)
        except Exception as error:
            _faults.record("channel.begin_aio", error)
            return call
        return limited


class UnaryStream(_MultiCallable, AioUnaryStreamBase):
    """A unary-stream method."""

    _ended = EndedUnaryStreamCall
    _call_class = LimitedUnaryStreamCall
    _without = WITHOUT["unary_stream"]
    _streams = True

    def _watch(self, flight: Flight, request: Any) -> tuple[Any, Callable[[Any, Flight], Any], Any]:
        flight.ready = self._connection.ready()
        flight.prepare_messages()
        return self._inner, LimitedUnaryStreamCall, request

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request, timeout, metadata, credentials, wait_for_ready, compression)


class _StreamingRequests(_MultiCallable):
    def _watch(self, flight: Flight, request: Any) -> tuple[Any, Callable[[Any, Flight], Any], Any]:
        flight.ready = self._connection.ready()
        flight.prepare_messages()
        if request is not None and flight.layers.limits.write is not None:
            request = watched_requests(request, flight.guard)
        return self._inner, self._call_class, request


class StreamUnary(_StreamingRequests, AioStreamUnaryBase):
    """A stream-unary method."""

    _ended = EndedStreamUnaryCall
    _call_class = LimitedStreamUnaryCall
    _without = WITHOUT["stream_unary"]

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)


class StreamStream(_StreamingRequests, AioStreamStreamBase):
    """A stream-stream method."""

    _ended = EndedStreamStreamCall
    _call_class = LimitedStreamStreamCall
    _streams = True

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._start(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
