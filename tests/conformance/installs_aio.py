"""The ways of giving an asyncio channel this library's powers. ``make(target, timeouts)`` returns the channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from opentelemetry.instrumentation.grpc import aio_client_interceptors

import grpc_heartbeat
from grpc_heartbeat import TimeoutPolicy

Make = Callable[[str, TimeoutPolicy | None], grpc.aio.Channel]


class _One(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


class _Many(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


class _Collect(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(client_call_details, request_iterator)


class _Chat(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(client_call_details, request_iterator)


def foreign() -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors of somebody else's that do nothing, one per RPC kind."""
    return [_One(), _Many(), _Collect(), _Chat()]


def traced() -> list[grpc.aio.ClientInterceptor]:
    """Return OpenTelemetry's interceptors."""
    return list(aio_client_interceptors())  # type: ignore[no-untyped-call]


def _wrapped(
    interceptors: Sequence[grpc.aio.ClientInterceptor], target: str, timeouts: TimeoutPolicy | None
) -> grpc.aio.Channel:
    inner = grpc.aio.insecure_channel(target, interceptors=list(interceptors) or None)
    return grpc_heartbeat.aio.wrap_channel(inner, timeouts=timeouts)


INSTALLATIONS: dict[str, Make] = {
    "our channel": lambda target, timeouts: grpc_heartbeat.aio.insecure_channel(target, timeouts=timeouts),
    "our channel with interceptors": lambda target, timeouts: grpc_heartbeat.aio.insecure_channel(
        target, interceptors=foreign(), timeouts=timeouts
    ),
    "our channel with OpenTelemetry": lambda target, timeouts: grpc_heartbeat.aio.insecure_channel(
        target, interceptors=traced(), timeouts=timeouts
    ),
    "wrapped channel": lambda target, timeouts: _wrapped([], target, timeouts),
    "wrapped around an intercepted channel": lambda target, timeouts: _wrapped(foreign(), target, timeouts),
    "wrapped around OpenTelemetry": lambda target, timeouts: _wrapped(traced(), target, timeouts),
    "official interceptors": lambda target, timeouts: grpc.aio.insecure_channel(
        target, interceptors=grpc_heartbeat.aio.client_interceptors(timeouts=timeouts)
    ),
}
