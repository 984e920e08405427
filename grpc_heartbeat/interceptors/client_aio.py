"""Client interceptors of the asyncio stack, for those who cannot change how the channel is made.

grpc.aio files an interceptor object under one RPC kind only, so there is one class per kind. Put them last in the channel's
list: time spent in later interceptors is not counted.

An interceptor can limit what it can see. It gets no channel, so a connect limit means nothing and the time until a call is
accepted runs from its start; and it cannot make a unary-unary call in another way, so the header limit means nothing there.
Our own channels tell their interceptors of the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc.aio

from grpc_heartbeat import _abandoned, _faults
from grpc_heartbeat._current import current_overrides, current_scope
from grpc_heartbeat.channel.calls_aio import (
    LimitedStreamStreamCall,
    LimitedStreamUnaryCall,
    LimitedUnaryStreamCall,
    LimitedUnaryUnaryCall,
)
from grpc_heartbeat.channel.connection_aio import UNKNOWN, Connection
from grpc_heartbeat.channel.ended_aio import (
    EndedStreamStreamCall,
    EndedStreamUnaryCall,
    EndedUnaryStreamCall,
    EndedUnaryUnaryCall,
)
from grpc_heartbeat.channel.flight_aio import Flight
from grpc_heartbeat.channel.layers_aio import LoopLayers
from grpc_heartbeat.channel.metadata import with_budget, without_stale_budget
from grpc_heartbeat.channel.multicallables_aio import WITHOUT
from grpc_heartbeat.channel.refused import refused
from grpc_heartbeat.channel.requests_aio import watched_requests
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.limits import Limits, Part
from grpc_heartbeat.core.outgoing import inheritable, plan
from grpc_heartbeat.core.wording import Verdict
from grpc_heartbeat.policy import TimeoutPolicy

_KEPT = 4096
"""Methods whose limits are kept worked out."""


class AioDeadlineClientInterceptor(grpc.aio.ClientInterceptor):
    """What the four kinds share.

    Attributes:
        connection: That of the channel, where we made it.
    """

    _ended: Callable[[Verdict], Any]
    _call_class: Callable[[Any, Flight], Any]
    _streams = False
    _without: tuple[Part, ...] = ()
    connection: Connection = UNKNOWN

    def __init__(self, timeouts: Timeouts | TimeoutPolicy | None = None) -> None:
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)
        self._layers: dict[str, LoopLayers] = {}
        self._timeouts.watch(self)

    def policy_changed(self, policy: TimeoutPolicy) -> None:
        self._layers = {}

    async def _start(self, continuation: Any, details: Any, request: Any) -> Any:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        scope = inheritable(current_scope.get())
        layers = self._layers_of(method)
        limits = layers.limits
        started = monotonic()
        limit, budget, allowed = plan(details.timeout, limits.total, scope, started)
        if not allowed:
            return self._ended(refused(method, details.timeout, limits, scope, limit, self.connection))
        flight = None
        if limit is not None or scope is not None or layers.watched or self._streams:
            flight = Flight()
            flight.method = method
            flight.layers = layers
            flight.connection = self.connection
            flight.started = started
            flight.limit = limit
            flight.timeout = details.timeout
            flight.scope = scope
            try:
                request = self._watch(flight, request)
            except Exception as error:
                _faults.record("interceptor.watch_aio", error)
        call = await continuation(_changed(details, limit, budget), request)
        if flight is None:
            return call
        try:
            limited = self._call_class(call, flight)
            flight.begin(call)
        except Exception as error:
            _faults.record("interceptor.begin_aio", error)
            return call
        if _abandoned.enabled:
            _abandoned.watch(limited, method, None)
        return limited

    def _layers_of(self, method: str) -> LoopLayers:
        overrides = current_overrides.get()
        if overrides is not None:
            return LoopLayers(self._limits_of(method).changed(overrides), self._without, fixed=False)
        known = self._layers
        layers = known.get(method)
        if layers is None:
            if len(known) >= _KEPT:
                known.clear()
            known[method] = layers = LoopLayers(self._limits_of(method), self._without)
        return layers

    def _limits_of(self, method: str) -> Limits:
        return self._timeouts.limits(method, streams=self._streams)

    def _watch(self, flight: Flight, request: Any) -> Any:
        """Prepare a call; return its request or requests."""
        flight.ready = self.connection.ready()
        flight.prepare_messages()
        return request


def _changed(details: Any, limit: float | None, budget: str | None) -> Any:
    metadata = details.metadata
    if budget is not None:
        metadata = grpc.aio.Metadata(*with_budget(metadata, budget))
    elif metadata is not None:
        metadata = without_stale_budget(metadata, limit)
    if metadata is details.metadata and limit == details.timeout:
        return details
    return details._replace(timeout=limit, metadata=metadata)


class _StreamingRequests(AioDeadlineClientInterceptor):
    def _watch(self, flight: Flight, request: Any) -> Any:
        super()._watch(flight, request)
        return request if flight.layers.limits.write is None else watched_requests(request, flight.guard)


class UnaryUnaryDeadline(AioDeadlineClientInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    """For unary-unary calls."""

    _ended = EndedUnaryUnaryCall
    _call_class = LimitedUnaryUnaryCall
    _without = (*WITHOUT["unary_unary"], "header")

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._start(continuation, client_call_details, request)


class UnaryStreamDeadline(AioDeadlineClientInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    """For unary-stream calls."""

    _ended = EndedUnaryStreamCall
    _call_class = LimitedUnaryStreamCall
    _streams = True
    _without = WITHOUT["unary_stream"]

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._start(continuation, client_call_details, request)


class StreamUnaryDeadline(_StreamingRequests, grpc.aio.StreamUnaryClientInterceptor):
    """For stream-unary calls."""

    _ended = EndedStreamUnaryCall
    _call_class = LimitedStreamUnaryCall
    _without = WITHOUT["stream_unary"]

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._start(continuation, client_call_details, request_iterator)


class StreamStreamDeadline(_StreamingRequests, grpc.aio.StreamStreamClientInterceptor):
    """For stream-stream calls."""

    _ended = EndedStreamStreamCall
    _call_class = LimitedStreamStreamCall
    _streams = True

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._start(continuation, client_call_details, request_iterator)
