"""A channel of the asyncio stack whose calls are traced where they are made, without interceptors.

grpc.aio makes a task for each call that has interceptors. The spans and their one end are those of ``rpc_client_aio``.
"""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from opentelemetry import trace

from grpc_heartbeat._types import AioStreamStreamBase, AioStreamUnaryBase, AioUnaryStreamBase, AioUnaryUnaryBase
from grpc_heartbeat.channel.kinds import Kind, Kinds, Signature
from grpc_heartbeat.channel.make import make
from grpc_heartbeat.telemetry.rpc_client import begin
from grpc_heartbeat.telemetry.rpc_client_aio import end_with
from grpc_heartbeat.telemetry.rpc_spans import SCOPE, Current, untraced


class AioTracedChannel(Kinds, grpc.aio.Channel):
    """Is ``inner``, and makes a CLIENT span for each call. ``tracer_provider`` is OpenTelemetry's; default: the global one."""

    def __init__(self, inner: grpc.aio.Channel, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._inner = inner
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    async def __aenter__(self) -> AioTracedChannel:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def _method(self, kind: Kind, signature: Signature) -> Any:
        inner = make(getattr(self._inner, kind), *signature)
        return inner if untraced(signature[0]) else _KINDS[kind](inner, signature[0], self._tracer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Traced:
    """What the four kinds of methods share: calls are objects that are returned at once."""

    def __init__(self, inner: Any, method: str, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._method = method
        self._tracer = tracer

    def __call__(self, *request: Any, timeout: float | None = None, metadata: Any = None, **more: Any) -> Any:
        begun = begin(self._tracer, self._method, timeout, metadata)
        if begun is None:
            return self._inner(*request, timeout=timeout, metadata=metadata, **more)
        rpc, entries = begun
        with Current(rpc.span):
            try:
                call = self._inner(*request, timeout=timeout, metadata=grpc.aio.Metadata(*entries), **more)
            except BaseException as error:
                rpc.end(grpc.StatusCode.UNKNOWN, repr(error))
                raise
        end_with(call, rpc)
        return call


class UnaryUnary(_Traced, AioUnaryUnaryBase):
    """A unary-unary method."""


class StreamUnary(_Traced, AioStreamUnaryBase):
    """A stream-unary method."""


class UnaryStream(_Traced, AioUnaryStreamBase):
    """A unary-stream method."""


class StreamStream(_Traced, AioStreamStreamBase):
    """A stream-stream method."""


_KINDS = {
    "unary_unary": UnaryUnary,
    "unary_stream": UnaryStream,
    "stream_unary": StreamUnary,
    "stream_stream": StreamStream,
}
