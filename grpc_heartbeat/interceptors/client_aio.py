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


async def _start(continuation: Any, details: Any, request: Any, total: float | None, ended: Any) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    scope = inheritable(current_scope.get())
    limit, budget, allowed = plan(details.timeout, total, scope, monotonic())
    if not allowed:
        return ended(refuse(method, details.timeout, total, scope, limit))
    call = await continuation(_changed(details, limit, budget), request)
    if scope is not None:
        hold(scope, call)
    return call


def _changed(details: Any, limit: float | None, budget: str | None) -> Any:
    if budget is None and limit == details.timeout:
        return details
    metadata = details.metadata if budget is None else grpc.aio.Metadata(*with_budget(details.metadata, budget))
    return details._replace(timeout=limit, metadata=metadata)


class _WithTotal:
    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self._total = timeouts.total if timeouts is not None else None


class UnaryUnaryDeadline(_WithTotal, grpc.aio.UnaryUnaryClientInterceptor):
    """For unary-unary calls."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, self._total, EndedUnaryUnaryCall)


class UnaryStreamDeadline(_WithTotal, grpc.aio.UnaryStreamClientInterceptor):
    """For unary-stream calls."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, None, EndedUnaryStreamCall)


class StreamUnaryDeadline(_WithTotal, grpc.aio.StreamUnaryClientInterceptor):
    """For stream-unary calls."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(continuation, client_call_details, request_iterator, self._total, EndedStreamUnaryCall)


class StreamStreamDeadline(_WithTotal, grpc.aio.StreamStreamClientInterceptor):
    """For stream-stream calls."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(continuation, client_call_details, request_iterator, None, EndedStreamStreamCall)
