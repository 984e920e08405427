"""A channel of the sync stack whose calls are traced where they are made, without interceptors.

grpcio builds an object or two for each interceptor and call, which costs about as much as the span. The spans and their one end
are those of ``rpc_client``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc
from opentelemetry import trace

from grpc_heartbeat._types import StreamStreamBase, StreamUnaryBase, UnaryStreamBase, UnaryUnaryBase
from grpc_heartbeat.telemetry.rpc_client import begin, end_with, ended
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, untraced


class TracedChannel(grpc.Channel):
    """Is ``inner``, and makes a CLIENT span for each call. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, inner: grpc.Channel, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._inner = inner
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None = False
    ) -> None:
        self._inner.subscribe(callback, try_to_connect=bool(try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._inner.unsubscribe(callback)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._traced(UnaryUnary, method, self._inner.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._traced(UnaryStream, method, self._inner.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._traced(StreamUnary, method, self._inner.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._traced(StreamStream, method, self._inner.stream_stream(method, *args, **kwargs))

    def _traced(self, kind: Callable[..., Any], method: str, inner: Any) -> Any:
        return inner if untraced(method) else kind(inner, method, self._tracer)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> TracedChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.close()
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Traced:
    """What the four kinds of methods share."""

    def __init__(self, inner: Any, method: str, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._method = method
        self._tracer = tracer

    def _start(self, start: Callable[..., Any], request: Any, arguments: dict[str, Any], read: bool = False) -> Any:
        """Make a call whose object is returned at once."""
        begun = begin(self._tracer, self._method, arguments["timeout"], arguments["metadata"])
        if begun is None:
            return start(request, **arguments)
        rpc, arguments["metadata"] = begun
        with Current(rpc.span):
            try:
                call = start(request, **arguments)
            except BaseException as error:
                _raised(error, rpc)
                raise
        end_with(call, rpc, may_be_single_threaded=read)
        return call

    def _block(self, run: Callable[..., Any], request: Any, arguments: dict[str, Any]) -> Any:
        """Make a call that is over when it returns."""
        begun = begin(self._tracer, self._method, arguments["timeout"], arguments["metadata"])
        if begun is None:
            return run(request, **arguments)
        rpc, arguments["metadata"] = begun
        with Current(rpc.span):
            try:
                response = run(request, **arguments)
            except BaseException as error:
                _raised(error, rpc)
                raise
        rpc.end(grpc.StatusCode.OK)
        return response


def _raised(error: BaseException, rpc: RpcSpan) -> None:
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        ended(error, rpc)
    else:
        rpc.end(grpc.StatusCode.UNKNOWN, repr(error))


def _arguments(
    timeout: float | None, metadata: Any, credentials: Any, wait_for_ready: bool | None, compression: Any
) -> dict[str, Any]:
    return {
        "timeout": timeout,
        "metadata": metadata,
        "credentials": credentials,
        "wait_for_ready": wait_for_ready,
        "compression": compression,
    }


class _OneResponse(_Traced):
    """Methods with one response."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        return self._block(
            self._inner, request, _arguments(timeout, metadata, credentials, wait_for_ready, compression)
        )

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        arguments = _arguments(timeout, metadata, credentials, wait_for_ready, compression)
        return self._block(self._inner.with_call, request, arguments)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        arguments = _arguments(timeout, metadata, credentials, wait_for_ready, compression)
        return self._start(self._inner.future, request, arguments)


class _ManyResponses(_Traced):
    """Methods with a stream of responses."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        arguments = _arguments(timeout, metadata, credentials, wait_for_ready, compression)
        return self._start(self._inner, request, arguments, read=True)


class UnaryUnary(_OneResponse, UnaryUnaryBase):
    """A unary-unary method."""


class StreamUnary(_OneResponse, StreamUnaryBase):
    """A stream-unary method."""


class UnaryStream(_ManyResponses, UnaryStreamBase):
    """A unary-stream method."""


class StreamStream(_ManyResponses, StreamStreamBase):
    """A stream-stream method."""
