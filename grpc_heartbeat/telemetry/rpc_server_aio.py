"""Spans of inbound RPCs on the asyncio stack.

As on the sync stack, with a wrapper for each style of handler: a coroutine function (which may answer by ``context.write``), an
asynchronous generator function, and a plain function that grpc.aio runs in a pool. A suspended generator is not told that its
RPC has ended, so that the context's done-callback ends the span. The context of a plain function does not tell its
status; there a delegate notes what the handler sets.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio
from opentelemetry import trace

from grpc_heartbeat import _faults
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.interceptors.handlers import HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.telemetry.rpc_server import TracedResponses, begin
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, status_code, untraced


class AioTracingServerInterceptor(grpc.aio.ServerInterceptor):
    """Makes a SERVER span for each RPC. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._handlers = HandlerCache(self._wrap)

    async def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or untraced(handler_call_details.method):
            return handler
        try:
            return self._handlers.get(handler_call_details.method, handler)
        except Exception as error:
            _faults.record("telemetry.rpc_server_aio.wrap", error)
            return handler

    def _wrap(self, method: str, handler: Any) -> Any:
        behavior = behavior_of(handler)
        if inspect.iscoroutinefunction(behavior):
            wrap = _coroutine
        elif inspect.isasyncgenfunction(behavior):
            wrap = _generator
        else:
            wrap = _plain_stream if handler.response_streaming else _plain
        return with_behavior(handler, keep_marks(behavior, wrap(behavior, method, self._tracer)))


def _end(rpc: RpcSpan, context: Any, error: BaseException | None = None) -> None:
    code = details = None
    try:
        code, details = context.code(), context.details()
    except Exception as fault:
        _faults.record("telemetry.rpc_server_aio.end", fault)
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        code = _why_cancelled(context)
    elif error is not None and status_code(code) is grpc.StatusCode.OK:
        rpc.span.record_exception(error)
        code, details = grpc.StatusCode.UNKNOWN, repr(error)
    rpc.end(code, details)


def _why_cancelled(context: Any) -> grpc.StatusCode:
    left = context.time_remaining()
    return grpc.StatusCode.DEADLINE_EXCEEDED if left is not None and left <= 0 else grpc.StatusCode.CANCELLED


def _coroutine(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    async def handle(request: Any, context: Any) -> Any:
        rpc = begin(tracer, method, context)
        if rpc is None:
            return await behavior(request, context)
        with Current(rpc.span):
            try:
                response = await behavior(request, context)
            except BaseException as error:
                _end(rpc, context, error)
                raise
        _end(rpc, context)
        return response

    return handle


def _generator(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        rpc = begin(tracer, method, context)
        if rpc is None:
            async for response in behavior(request, context):
                yield response
            return
        # Left to itself by the end of its RPC, a generator hears of nothing. After a normal end this comes too late to matter.
        context.add_done_callback(lambda _: rpc.end(_why_cancelled(context)))
        # An RPC has a task, and so a context, of its own: the span stays current until that ends.
        _attach(rpc)
        try:
            async for response in behavior(request, context):
                yield response
        except BaseException as error:
            _end(rpc, context, error)
            raise
        _end(rpc, context)

    return handle


def _attach(rpc: RpcSpan) -> None:
    from opentelemetry import context

    context.attach(trace.set_span_in_context(rpc.span))


def _plain(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        rpc = begin(tracer, method, context)
        if rpc is None:
            return behavior(request, context)
        noted = NotedContext(context, rpc)
        with Current(rpc.span):
            try:
                response = behavior(request, noted)
            except BaseException as error:
                _end_noted(rpc, noted, error)
                raise
        _end_noted(rpc, noted)
        return response

    return handle


def _plain_stream(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        """Called on the loop's thread; what it returns is iterated in the pool."""
        rpc = begin(tracer, method, context)
        if rpc is None:
            return behavior(request, context)
        noted = NotedContext(context, rpc)
        context.add_callback(lambda: _end_noted(rpc, noted, over=True))
        with Current(rpc.span):
            try:
                responses = behavior(request, noted)
            except BaseException as error:
                _end_noted(rpc, noted, error)
                raise
        return TracedResponses(responses, rpc, noted, _end_noted)

    return handle


class NotedContext:
    """A plain handler's context that notes the status that the handler sets. All else is grpc.aio's own.

    ``abort`` ends the span at once: in a stream, older grpcio never comes back from it.
    """

    def __init__(self, context: Any, rpc: RpcSpan) -> None:
        self._context = context
        self._rpc = rpc
        self.noted_code: Any = None
        self.noted_details: str | None = None
        left = context.time_remaining()
        self.noted_deadline = None if left is None else monotonic() + left

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> Any:
        self.noted_code, self.noted_details = code, details
        self._rpc.end(code, details)
        return self._context.abort(code, details, trailing_metadata)

    def set_code(self, code: Any) -> None:
        self.noted_code = code
        self._context.set_code(code)

    def set_details(self, details: str) -> None:
        self.noted_details = details
        self._context.set_details(details)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _end_noted(rpc: RpcSpan, context: NotedContext, error: BaseException | None = None, over: bool = False) -> None:
    code, details = context.noted_code, context.noted_details
    if error is not None and not code:
        rpc.span.record_exception(error)
        code, details = grpc.StatusCode.UNKNOWN, repr(error)
    elif over and not code:
        late = context.noted_deadline is not None and context.noted_deadline <= monotonic()
        code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
    rpc.end(code, details)
