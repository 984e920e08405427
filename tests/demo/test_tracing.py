"""The official instrumentation on this library's asyncio channels: a cancelled call's span ends, and ends once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from grpc_heartbeat import aio
from grpc_heartbeat.demo import tracing


async def spans_of(behavior: Any, use: Any) -> tuple[ReadableSpan, ...]:
    """Return the spans of the client that ``use`` plays against a server with one method."""
    memory, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: Any = grpc.unary_unary_rpc_method_handler(behavior)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Stock", {"Reserve": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(
        f"127.0.0.1:{port}", interceptors=tracing.aio_client_interceptors(provider)
    ) as channel:
        await use(channel.unary_unary("/shop.Stock/Reserve"))
    await server.stop(0)
    return memory.get_finished_spans()


async def test_the_span_of_a_cancelled_call_ends_as_an_error() -> None:
    arrived = asyncio.Event()

    async def hang(request: bytes, context: Any) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return request

    async def cancel(reserve: Any) -> None:
        task = asyncio.ensure_future(_call(reserve))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    (span,) = await spans_of(hang, cancel)
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == 1


async def test_the_span_of_an_answered_call_is_left_to_the_instrumentation() -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        return request

    (span,) = await spans_of(answer, _call)
    assert span.status.is_ok
    assert span.name == "/shop.Stock/Reserve"


async def _call(reserve: Any) -> bytes:
    reply: bytes = await reserve(b"order")
    return reply
