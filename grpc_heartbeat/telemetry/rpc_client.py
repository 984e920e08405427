"""Spans of outbound calls on the sync stack.

The span is current while the call is started and, of blocking calls, until it has ended. It ends with the call, whoever ends
it: gRPC tells when a call is over. A call object that is dropped is cancelled by gRPC, and its span ends then; nothing here
keeps one alive. The call object that gRPC made is returned as it is, with everything it can do.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from grpc_heartbeat import _faults, deadline
from grpc_heartbeat._grpcio_ended import status_of
from grpc_heartbeat.errors import timeout_of
from grpc_heartbeat.telemetry.propagation import with_trace
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, untraced


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class CallDetails(_Details, grpc.ClientCallDetails):
    """A call's details with more metadata."""


class TracingClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Makes a CLIENT span for each call. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request, may_be_single_threaded=True)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._call(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._call(continuation, client_call_details, request_iterator)

    def _call(
        self, continuation: Callable[..., Any], details: Any, request: Any, may_be_single_threaded: bool = False
    ) -> Any:
        if untraced(details.method):
            return continuation(details, request)
        begun = begin(self._tracer, details.method, details.timeout, details.metadata)
        if begun is None:
            return continuation(details, request)
        rpc, metadata = begun
        with Current(rpc.span):
            try:
                call = continuation(_with_metadata(details, metadata), request)
            except BaseException as error:
                rpc.end(grpc.StatusCode.UNKNOWN, repr(error))
                raise
        end_with(call, rpc, may_be_single_threaded)
        return call


def begin(
    tracer: trace.Tracer, method: str, timeout: float | None, metadata: Any
) -> tuple[RpcSpan, list[tuple[str, Any]]] | None:
    """Return the span of a call that is about to be made, and its metadata with the span's context. Never raises."""
    try:
        rpc = RpcSpan(tracer, method, SpanKind.CLIENT, left_of(timeout))
        return rpc, with_trace(metadata, rpc.span)
    except Exception as error:
        _faults.record("telemetry.rpc_client", error)
        return None


def left_of(timeout: float | None) -> float | None:
    """Return the seconds that a call made now with ``timeout`` has: those, or what is left of the inbound budget."""
    left = deadline.remaining()
    if left is None or timeout is None:
        return timeout if left is None else left
    return min(left, timeout)


def _with_metadata(details: Any, metadata: Any) -> CallDetails:
    return CallDetails(
        details.method,
        details.timeout,
        metadata,
        details.credentials,
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )


def end_with(call: Any, rpc: RpcSpan, may_be_single_threaded: bool) -> None:
    """Have the span of ``rpc`` end with ``call``. Never raises."""
    try:
        if not hasattr(call, "add_callback"):  # another interceptor has put something else in its place
            rpc.end(grpc.StatusCode.OK)
            return
        if isinstance(call, grpc.Future) and call.done():
            ended(call, rpc)
            return
        started: Any = call
        status = status_of(started)
        if not started.add_callback(lambda: _asked(status, rpc)):
            ended(call, rpc)
        elif may_be_single_threaded:
            # The end of a single-threaded stream is told to those only who read on.
            weakref.finalize(call, _asked, status, rpc).atexit = False
    except Exception as error:
        _faults.record("telemetry.rpc_client.end", error)
        rpc.end(grpc.StatusCode.UNKNOWN)


def _asked(status: Callable[[], Any], rpc: RpcSpan) -> None:
    known = status()
    if known is None:
        rpc.end(grpc.StatusCode.CANCELLED, "the application dropped the call")
    else:
        ended(known, rpc)


def ended(call: Any, rpc: RpcSpan) -> None:
    """End the span of ``rpc`` with the status of ``call``, which is done. Never raises."""
    try:
        code = call.code()
        rpc.end(code, None if code is grpc.StatusCode.OK else call.details(), timeout_of(call))
    except Exception as error:  # what another interceptor has made
        _faults.record("telemetry.rpc_client.ended", error)
        rpc.end(grpc.StatusCode.UNKNOWN)
