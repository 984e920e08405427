"""A chain root → gateway → leaf: gateways of both stacks that only forward, and a leaf that reports what reached it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from opentelemetry.instrumentation.grpc import client_interceptor, grpcext

import grpc_heartbeat
from grpc_heartbeat import deadline
from tests.peers import KINDS, PATIENCE, AioServer, LoopThread, SyncServer, path

HOLD = b"hold"
"""A request that the leaf answers only when its RPC has ended."""


class Leaf:
    """The last hop. Remembers, for each RPC, what was left of its budget and whether it was cancelled."""

    def __init__(self) -> None:
        self.remaining: list[float | None] = []
        self.metadata: list[dict[str, Any]] = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self._server = SyncServer(
            {
                "UnaryUnary": self._one,
                "UnaryStream": self._many,
                "StreamUnary": lambda requests, context: self._one(next(requests), context),
                "StreamStream": lambda requests, context: self._many(next(requests), context),
            },
            grpc_heartbeat.server_interceptors(),
        )
        self.target = self._server.target

    def _one(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        over = threading.Event()
        if not context.add_callback(over.set):  # it is over already
            over.set()
        self.remaining.append(deadline.remaining())
        self.metadata.append(dict(context.invocation_metadata()))
        self.started.set()
        if request == HOLD and over.wait(PATIENCE):
            self.ended.set()
        return request

    def _many(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield self._one(request, context)

    def close(self) -> None:
        self._server.close()


class Noop(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """An interceptor of somebody else's."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(client_call_details, request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(client_call_details, request_iterator)


class AioNoop(grpc.aio.UnaryUnaryClientInterceptor):
    """An asyncio interceptor of somebody else's."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


def _bare(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target)


def _traced(channel: grpc.Channel) -> grpc.Channel:
    """Return ``channel`` as OpenTelemetry instruments it."""
    traced: grpc.Channel = grpcext.intercept_channel(channel, client_interceptor())  # type: ignore[no-untyped-call]
    return traced


SYNC_STYLES: dict[str, Callable[[str], grpc.Channel]] = {
    "channel": lambda target: grpc_heartbeat.insecure_channel(target),
    "wrapped": lambda target: grpc_heartbeat.wrap_channel(_bare(target)),
    "wrapped intercepted": lambda target: grpc_heartbeat.wrap_channel(grpc.intercept_channel(_bare(target), Noop())),
    "wrapped twice": lambda target: grpc_heartbeat.wrap_channel(grpc_heartbeat.insecure_channel(target)),
    "interceptors": lambda target: grpc.intercept_channel(_bare(target), *grpc_heartbeat.client_interceptors()),
}
AIO_STYLES: dict[str, Callable[[str], grpc.aio.Channel]] = {
    "channel": lambda target: grpc_heartbeat.aio.insecure_channel(target),
    "channel with interceptors": lambda target: grpc_heartbeat.aio.insecure_channel(target, interceptors=[AioNoop()]),
    "wrapped": lambda target: grpc_heartbeat.aio.wrap_channel(grpc.aio.insecure_channel(target)),
    "interceptors": lambda target: grpc.aio.insecure_channel(
        target, interceptors=grpc_heartbeat.aio.client_interceptors()
    ),
}
TRACED_STYLES: dict[str, Callable[[str], grpc.Channel]] = {
    "traced": lambda target: _traced(grpc_heartbeat.insecure_channel(target))
}
"""OpenTelemetry around our channel. Its own call objects and metadata are not grpcio's, so only the chain is tested."""

GATEWAYS = [("sync", style) for style in (*SYNC_STYLES, *TRACED_STYLES)] + [("aio", style) for style in AIO_STYLES]


class SyncGateway:
    """Forwards each RPC on the sync stack; not one line of it is about deadlines or cancellation."""

    def __init__(self, leaf: str, style: str) -> None:
        self._channel = (SYNC_STYLES | TRACED_STYLES)[style](leaf)
        one, many, collect, chat = stubs(self._channel)

        def forward_one(request: bytes, context: Any) -> Any:
            return one(request)

        def forward_many(request: bytes, context: Any) -> Iterator[bytes]:
            yield from many(request)

        def forward_collect(requests: Any, context: Any) -> Any:
            return collect(requests)

        def forward_chat(requests: Any, context: Any) -> Iterator[bytes]:
            yield from chat(requests)

        behaviors = (forward_one, forward_many, forward_collect, forward_chat)
        self._server = SyncServer(dict(zip(KINDS, behaviors, strict=True)), grpc_heartbeat.server_interceptors())
        self.target = self._server.target

    def close(self) -> None:
        self._server.close()
        self._channel.close()


class AioGateway:
    """Forwards each RPC on the asyncio stack."""

    def __init__(self, loop: LoopThread, leaf: str, style: str) -> None:
        self._loop = loop
        self._channel = loop.run(_make(AIO_STYLES[style], leaf))
        one, many, collect, chat = stubs(self._channel)

        async def forward_one(request: bytes, context: Any) -> Any:
            return await one(request)

        async def forward_many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async for response in many(request):
                yield response

        async def forward_collect(requests: Any, context: Any) -> Any:
            return await collect(requests)

        async def forward_chat(requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in chat(requests):
                yield response

        behaviors = (forward_one, forward_many, forward_collect, forward_chat)
        interceptors = grpc_heartbeat.aio.server_interceptors()
        self._server = AioServer(loop, dict(zip(KINDS, behaviors, strict=True)), interceptors)
        self.target = self._server.target

    def close(self) -> None:
        self._server.close()
        self._loop.run(self._channel.close())


async def _make(factory: Callable[[str], grpc.aio.Channel], target: str) -> grpc.aio.Channel:
    return factory(target)


def stubs(channel: Any) -> tuple[Any, Any, Any, Any]:
    """Return the multicallables of the four kinds, in the order of ``KINDS``."""
    return (
        channel.unary_unary(path("UnaryUnary")),
        channel.unary_stream(path("UnaryStream")),
        channel.stream_unary(path("StreamUnary")),
        channel.stream_stream(path("StreamStream")),
    )


def start(channel: grpc.Channel, kind: str, request: bytes, **kwargs: Any) -> Any:
    """Start a call of ``kind`` with one request and return its call object."""
    multicallable = dict(zip(KINDS, stubs(channel), strict=True))[kind]
    begin = multicallable.future if kind.endswith("Unary") else multicallable
    return begin(iter([request]) if kind.startswith("Stream") else request, **kwargs)


def responses(call: Any, kind: str) -> list[bytes]:
    """Return all responses of a call that ``start`` gave."""
    return [call.result(PATIENCE)] if kind.endswith("Unary") else list(call)
