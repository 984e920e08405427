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
from grpc_heartbeat.core.outgoing import Plan, plan


async def _start(continuation: Any, details: Any, request: Any, total: float | None, ended: Any) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else details.method
    planned = plan(method, details.timeout, total, current_scope.get(), monotonic())
    if planned.refusal is not None:
        return ended(planned.refusal)
    call = await continuation(_changed(details, planned), request)
    if planned.scope is not None:
        hold(planned.scope, call)
    return call


def _changed(details: Any, planned: Plan) -> Any:
    if planned.budget is None and planned.timeout == details.timeout:
        return details
    metadata = details.metadata
    if planned.budget is not None:
        metadata = grpc.aio.Metadata(*with_budget(metadata, planned.budget))
    return details._replace(timeout=planned.timeout, metadata=metadata)


class _WithTotal:
    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self._total = timeouts.total if timeouts is not None else None


class UnaryUnaryDeadline(_WithTotal, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, self._total, EndedUnaryUnaryCall)


class UnaryStreamDeadline(_WithTotal, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _start(continuation, client_call_details, request, None, EndedUnaryStreamCall)


class StreamUnaryDeadline(_WithTotal, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(continuation, client_call_details, request_iterator, self._total, EndedStreamUnaryCall)


class StreamStreamDeadline(_WithTotal, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _start(continuation, client_call_details, request_iterator, None, EndedStreamStreamCall)
