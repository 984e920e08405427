"""Spans of outbound calls on the asyncio stack.

gRPC's call is returned at once and its span ends in its done-callback, so that a cancel reaches the server and ends the span.
grpc.aio files an interceptor object under one RPC kind only, so there is one class per kind.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from opentelemetry import trace

from grpc_heartbeat import _faults
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.telemetry.rpc_client import begin
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, untraced


class AioTracingClientInterceptor(grpc.aio.ClientInterceptor):
    """What the four kinds share. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    async def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        if untraced(method):
            return await continuation(details, request)
        begun = begin(self._tracer, method, details.timeout, details.metadata)
        if begun is None:
            return await continuation(details, request)
        rpc, metadata = begun
        with Current(rpc.span):
            try:
                call = await continuation(details._replace(metadata=grpc.aio.Metadata(*metadata)), request)
            except asyncio.CancelledError:
                rpc.end(grpc.StatusCode.CANCELLED)
                raise
            except BaseException as error:
                rpc.end(_code_of(error), str(error))
                raise
        end_with(call, rpc)
        return call


def end_with(call: Any, rpc: RpcSpan) -> None:
    """Have the span of ``rpc`` end with ``call``. Never raises."""
    try:
        call.add_done_callback(lambda done: _ended(done, rpc))
    except Exception:  # what another interceptor has made cannot tell
        rpc.end(grpc.StatusCode.OK)


def _code_of(error: BaseException) -> grpc.StatusCode:
    return error.code() if isinstance(error, grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN


def _ended(call: Any, rpc: RpcSpan) -> None:
    try:
        code = _now(call.code())
        rpc.end(code, None if code is grpc.StatusCode.OK else _now(call.details()), timeout_of(call))
    except Exception as error:
        _faults.record("telemetry.rpc_client_aio.ended", error)
        rpc.end(grpc.StatusCode.UNKNOWN)


def _now(answer: Any) -> Any:
    """Return what a coroutine gives that has nothing to wait for, as those of calls that are done."""
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    answer.close()
    raise RuntimeError("a call that is done has no status")


class UnaryUnaryTracing(AioTracingClientInterceptor, grpc.aio.UnaryUnaryClientInterceptor):
    """For unary-unary calls."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class UnaryStreamTracing(AioTracingClientInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    """For unary-stream calls."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class StreamUnaryTracing(AioTracingClientInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    """For stream-unary calls."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)


class StreamStreamTracing(AioTracingClientInterceptor, grpc.aio.StreamStreamClientInterceptor):
    """For stream-stream calls."""

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)
