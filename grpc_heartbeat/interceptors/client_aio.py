"""Client interceptors of the asyncio stack, for those who cannot change how the channel is made.

grpc.aio files an interceptor object under one RPC kind only, so there is one class per kind. Put them last in the channel's
list: time spent in later interceptors is not counted.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import grpc.aio

from grpc_heartbeat._current import current_scope
from grpc_heartbeat.channel.ended_aio import (
    EndedStreamStreamCall,
    EndedStreamUnaryCall,
    EndedUnaryStreamCall,
    EndedUnaryUnaryCall,
)
from grpc_heartbeat.channel.metadata import with_budget
from grpc_heartbeat.channel.scoped_aio import hold
from grpc_heartbeat.config import Timeouts
from grpc_heartbeat.core.outgoing import inheritable, plan, refuse
from grpc_heartbeat.policy import TimeoutPolicy


async def _start(
    continuation: Any, details: Any, request: Any, timeouts: TimeoutPolicy, streams: bool, ended: Any
) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    scope = inheritable(current_scope.get())
    limits = timeouts.limits(method, streams=streams)
    limit, budget, allowed = plan(details.timeout, limits.total, scope, monotonic())
    if not allowed:
        return ended(refuse(method, details.timeout, limits, scope, limit))
    call = await continuation(_changed(details, limit, budget), request)
    if scope is not None:
        hold(scope, call)
    return call


def _changed(details: Any, limit: float | None, budget: str | None) -> Any:
    if budget is None and limit == details.timeout:
        return details
    metadata = details.metadata if budget is None else grpc.aio.Metadata(*with_budget(details.metadata, budget))
    return details._replace(timeout=limit, metadata=metadata)


class _WithPolicy:
    def __init__(self, timeouts: Timeouts | TimeoutPolicy | None = None) -> None:
        self._timeouts = timeouts if isinstance(timeouts, TimeoutPolicy) else TimeoutPolicy(timeouts)


class UnaryUnaryDeadline(_WithPolicy, grpc.aio.UnaryUnaryClientInterceptor):
    """For unary-unary calls."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, self._timeouts, False, EndedUnaryUnaryCall)


class UnaryStreamDeadline(_WithPolicy, grpc.aio.UnaryStreamClientInterceptor):
    """For unary-stream calls."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, self._timeouts, True, EndedUnaryStreamCall)


class StreamUnaryDeadline(_WithPolicy, grpc.aio.StreamUnaryClientInterceptor):
    """For stream-unary calls."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(
            continuation, client_call_details, request_iterator, self._timeouts, False, EndedStreamUnaryCall
        )


class StreamStreamDeadline(_WithPolicy, grpc.aio.StreamStreamClientInterceptor):
    """For stream-stream calls."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(
            continuation, client_call_details, request_iterator, self._timeouts, True, EndedStreamStreamCall
        )
