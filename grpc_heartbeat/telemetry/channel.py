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
from grpc_heartbeat.channel.kinds import Kind, Kinds, Signature
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.telemetry.rpc_client import begin, end_with, ended
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, RpcSpan, untraced


class TracedChannel(Kinds, grpc.Channel):
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

    def _method(self, kind: Kind, signature: Signature) -> Any:
        inner = make(getattr(self._inner, kind), *signature)
        return inner if untraced(signature[0]) else _KINDS[kind](inner, signature[0], self._tracer)

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


_NAMES = ("timeout", "metadata", "credentials", "wait_for_ready", "compression")
"""What a call may be given by position, behind its request."""


class _Traced:
    """What the four kinds of methods share. A call's arguments are those of grpc's own."""

    def __init__(self, inner: Any, method: str, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._method = method
        self._tracer = tracer

    def _start(self, start: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], read: bool) -> Any:
        """Make a call whose object is returned at once; ``read``: whether it is a stream of responses."""
        begun = self._begin(args, kwargs)
        if begun is None:
            return start(*args, **kwargs)
        rpc, kwargs = begun
        with Current(rpc.span):
            try:
                call = start(*args[:1], **kwargs)
            except BaseException as error:
                _raised(error, rpc)
                raise
        end_with(call, rpc, may_be_single_threaded=read)
        return call

    def _block(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call that is over when it returns."""
        begun = self._begin(args, kwargs)
        if begun is None:
            return run(*args, **kwargs)
        rpc, kwargs = begun
        with Current(rpc.span):
            try:
                response = run(*args[:1], **kwargs)
            except BaseException as error:
                _raised(error, rpc)
                raise
        rpc.end(grpc.StatusCode.OK)
        return response

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[RpcSpan, dict[str, Any]] | None:
        """Return a call's span, and its arguments but for the request, with the span's context; ``None`` without a span."""
        named = {**kwargs, **dict(zip(_NAMES, args[1:]))} if len(args) > 1 else kwargs  # noqa: B905  # mostly fewer
        begun = begin(self._tracer, self._method, named.get("timeout"), named.get("metadata"))
        if begun is None:
            return None
        rpc, metadata = begun
        return rpc, {**named, "metadata": metadata}


def _raised(error: BaseException, rpc: RpcSpan) -> None:
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        ended(error, rpc)
    else:
        rpc.end(grpc.StatusCode.UNKNOWN, repr(error))


class _OneResponse(_Traced):
    """Methods with one response."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._block(self._inner, args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._block(self._inner.with_call, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._start(self._inner.future, args, kwargs, read=False)


class _ManyResponses(_Traced):
    """Methods with a stream of responses."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start(self._inner, args, kwargs, read=True)


class UnaryUnary(_OneResponse, UnaryUnaryBase):
    """A unary-unary method."""


class StreamUnary(_OneResponse, StreamUnaryBase):
    """A stream-unary method."""


class UnaryStream(_ManyResponses, UnaryStreamBase):
    """A unary-stream method."""


class StreamStream(_ManyResponses, StreamStreamBase):
    """A stream-stream method."""


_KINDS = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}
