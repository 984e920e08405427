"""Spans of inbound RPCs on the sync stack.

The span runs from the start of the handler to its end, and is current in it; a stream's is current in each step. The handler
gets gRPC's own context, which knows the status in the end. An RPC that ends under a stream or a non-blocking handler ends the
span, because such a handler is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from grpc_heartbeat import _faults
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.interceptors.handlers import HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.telemetry.propagation import parent_of
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, status_code, untraced


class TracingServerInterceptor(grpc.ServerInterceptor):
    """Makes a SERVER span for each RPC. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._handlers = HandlerCache(self._wrap)

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or untraced(handler_call_details.method):
            return handler
        try:
            return self._handlers.get(handler_call_details.method, handler)
        except Exception as error:
            _faults.record("telemetry.rpc_server.wrap", error)
            return handler

    def _wrap(self, method: str, handler: Any) -> Any:
        behavior = behavior_of(handler)
        if getattr(behavior, "experimental_non_blocking", False):
            wrap = _non_blocking
        else:
            wrap = _stream if handler.response_streaming else _one
        return with_behavior(handler, keep_marks(behavior, wrap(behavior, method, self._tracer)))


def begin(tracer: trace.Tracer, method: str, context: Any) -> RpcSpan | None:
    """Return the span of an RPC that is about to be handled. Never raises."""
    try:
        parent = parent_of(context.invocation_metadata())
        return RpcSpan(tracer, method, SpanKind.SERVER, context.time_remaining(), parent)
    except Exception as error:
        _faults.record("telemetry.rpc_server.begin", error)
        return None


def _end(rpc: RpcSpan, context: Any, error: BaseException | None = None) -> None:
    """End with the status that ``context`` knows; ``error`` is what the handler has raised."""
    code = details = None
    try:
        code, details = context.code(), context.details()
        if isinstance(details, bytes):
            details = details.decode(errors="replace")
        ok = status_code(code) is grpc.StatusCode.OK
        if ok and error is None and not context.is_active():
            left = context.time_remaining()
            gone = left is not None and left <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if gone else grpc.StatusCode.CANCELLED
    except Exception as fault:
        _faults.record("telemetry.rpc_server.end", fault)
    if error is not None and status_code(code) is grpc.StatusCode.OK:
        rpc.span.record_exception(error)
        code, details = grpc.StatusCode.UNKNOWN, repr(error)
    text: Any = details
    rpc.end(code, text)


def _one(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        rpc = begin(tracer, method, context)
        if rpc is None:
            return behavior(request, context)
        with Current(rpc.span):
            try:
                response = behavior(request, context)
            except BaseException as error:
                _end(rpc, context, error)
                raise
        _end(rpc, context)
        return response

    return handle


def _stream(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        rpc = begin(tracer, method, context)
        if rpc is None:
            return behavior(request, context)
        _end_with_rpc(rpc, context)
        with Current(rpc.span):
            try:
                responses = behavior(request, context)
            except BaseException as error:
                _end(rpc, context, error)
                raise
        return TracedResponses(responses, rpc, context, _end)

    return handle


def _non_blocking(behavior: Behavior, method: str, tracer: trace.Tracer) -> Behavior:
    def handle(request: Any, context: Any, send_response: Any) -> Any:
        rpc = begin(tracer, method, context)
        if rpc is None:
            return behavior(request, context, send_response)
        _end_with_rpc(rpc, context)
        with Current(rpc.span):
            return behavior(request, context, send_response)

    return handle


def _end_with_rpc(rpc: RpcSpan, context: Any) -> None:
    try:
        # It comes after a normal end, too; whoever ends the span first has the say.
        if not context.add_callback(lambda: _end(rpc, context)):
            _end(rpc, context)
    except Exception as error:
        _faults.record("telemetry.rpc_server.watch", error)


class TracedResponses:
    """Makes the span current around each step of ``responses``, and ends it with the last."""

    def __init__(self, responses: Any, rpc: RpcSpan, context: Any, end: Callable[..., None]) -> None:
        self._responses = responses
        self._rpc = rpc
        self._context = context
        self._end = end

    def __iter__(self) -> Iterator[Any]:
        self._responses = iter(self._responses)
        return self

    def __next__(self) -> Any:
        with Current(self._rpc.span):
            try:
                return next(self._responses)
            except StopIteration:
                self._end(self._rpc, self._context)
                raise
            except BaseException as error:
                self._end(self._rpc, self._context, error)
                raise
