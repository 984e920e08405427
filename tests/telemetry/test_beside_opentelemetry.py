"""Where opentelemetry-instrumentation-grpc breaks a handler or a cancel: the same with its interceptors and with ours.

What is expected of theirs is what its releases up to now do. A release that does better fails here, which is good news:
docs/tracing.md can then drop what it says of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.instrumentation import grpc as instrumentation

from grpc_heartbeat import telemetry
from tests.heartbeat.ends import Spans
from tests.peers import OPTIONS, PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

otel: Any = instrumentation
SHORT = 0.5
"""Seconds after which what does not come is held not to come."""

NEVER_AWAITED = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
BOTH = pytest.mark.parametrize("whose", ["ours", "theirs"])


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


def server_interceptors(whose: str, spans: Spans) -> list[Any]:
    if whose == "ours":
        return list(telemetry.server_interceptors(tracer_provider=spans.provider))
    return [otel.server_interceptor(spans.provider)]


def aio_server_interceptors(whose: str, spans: Spans) -> list[Any]:
    if whose == "ours":
        return list(telemetry.aio_server_interceptors(tracer_provider=spans.provider))
    return [otel.aio_server_interceptor(spans.provider)]


def aio_channel(whose: str, target: str, spans: Spans) -> Any:
    if whose == "ours":
        return telemetry.trace_channel(grpc.aio.insecure_channel(target), tracer_provider=spans.provider)
    if whose == "ours, interceptors":
        interceptors = telemetry.aio_client_interceptors(tracer_provider=spans.provider)
        return grpc.aio.insecure_channel(target, interceptors=interceptors)
    return grpc.aio.insecure_channel(target, interceptors=otel.aio_client_interceptors(spans.provider))


async def _write(request: bytes, context: Any) -> None:
    for _ in range(3):
        await context.write(request)


def _plain(request: bytes, _: Any) -> bytes:
    return request


@BOTH
@NEVER_AWAITED
def test_an_asyncio_handler_that_writes(whose: str, loop: LoopThread, spans: Spans) -> None:
    server = AioServer(loop, {"UnaryStream": _write}, aio_server_interceptors(whose, spans))
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_stream(path("UnaryStream"))
        if whose == "ours":
            assert list(call(b"x", timeout=PATIENCE)) == [b"x"] * 3
        else:
            with pytest.raises(grpc.RpcError):
                list(call(b"x", timeout=PATIENCE))
    server.close()
    wait_until(lambda: spans.started == len(spans.ended) == 1)
    assert spans.ended[0].attributes["rpc.grpc.status_code"] == 0 or whose == "theirs"


@BOTH
def test_a_plain_handler_on_an_asyncio_server(whose: str, loop: LoopThread, spans: Spans) -> None:
    server = AioServer(loop, {"UnaryUnary": _plain}, aio_server_interceptors(whose, spans))
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary(path("UnaryUnary"))
        if whose == "ours":
            assert call(b"x", timeout=PATIENCE) == b"x"
        else:
            with pytest.raises(grpc.RpcError):
                call(b"x", timeout=PATIENCE)
    server.close()


@BOTH
@NEVER_AWAITED
def test_the_official_health_watch_on_an_asyncio_server(whose: str, loop: LoopThread, spans: Spans) -> None:
    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=aio_server_interceptors(whose, spans), options=OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = loop.run(start())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        if whose == "ours":
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        else:
            with pytest.raises(grpc.RpcError):
                next(watch)
        watch.cancel()
    loop.run(server.stop(None))


@BOTH
def test_watches_on_a_sync_server_with_fewer_workers(whose: str, spans: Spans) -> None:
    """The official Watch holds no worker, unless a wrapper loses the mark that says so."""
    server = SyncServer({"UnaryUnary": _plain}, server_interceptors(whose, spans), workers=2)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server.server)
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE) for _ in range(2)]
        for watch in watches:
            next(watch)
        call: Any = channel.unary_unary(path("UnaryUnary"))
        if whose == "ours":
            assert call(b"x", timeout=PATIENCE) == b"x"
        else:
            with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                call(b"x", timeout=SHORT)
        for watch in watches:
            watch.cancel()
    server.close()


@pytest.mark.parametrize("whose", ["ours", "ours, interceptors", "theirs"])
@pytest.mark.parametrize("how", ["call", "task"])
def test_a_cancelled_call_of_asyncio(how: str, whose: str, loop: LoopThread, spans: Spans) -> None:
    """The cancel reaches the server, and the span ends."""
    arrived, ended = threading.Event(), threading.Event()

    async def hold(_: bytes, __: Any) -> bytes:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    server = AioServer(loop, {"UnaryUnary": hold})

    async def run() -> tuple[bool, int]:
        async with aio_channel(whose, server.target, spans) as channel:
            call = channel.unary_unary(path("UnaryUnary"))(b"", timeout=PATIENCE)
            task = asyncio.ensure_future(_await(call))
            await asyncio.to_thread(arrived.wait, PATIENCE)
            (call if how == "call" else task).cancel()
            await asyncio.gather(task, return_exceptions=True)
            reached = await asyncio.to_thread(ended.wait, PATIENCE if whose != "theirs" else SHORT)
            return reached, spans.started - len(spans.ended)

    reached, still_open = loop.run(run())
    server.close()
    if whose == "theirs":
        assert (reached, still_open) != (True, 0)
    else:
        assert reached
        wait_until(lambda: spans.started == len(spans.ended) == 1)
        assert spans.ended[0].attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]


async def _await(call: Any) -> Any:
    return await call
