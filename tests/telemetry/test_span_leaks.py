"""Every span ends once, however its call ends: cancelled, expired, abandoned, collected, called off with its task.

``GRPC_HEARTBEAT_SOAK=full`` makes 100,000 calls of each stack instead of some hundreds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.trace import SpanKind

import grpc_heartbeat
from grpc_heartbeat import telemetry
from tests.heartbeat.ends import Spans
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

FULL = os.environ.get("GRPC_HEARTBEAT_SOAK") == "full"
ROUNDS = 12_500 if FULL else 15
"""Each makes 8 calls."""
SHORT = 0.05

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 60)]


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


def _hold(_: Any, context: Any) -> bytes:
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(PATIENCE)
    return b""


def _stream(_: Any, context: Any) -> Iterator[bytes]:
    yield b"first"
    yield _hold(_, context)


async def _hold_aio(_: Any, __: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def _stream_aio(_: Any, __: Any) -> Any:
    yield b"first"
    await asyncio.Event().wait()


def check(spans: Spans, calls: int) -> None:
    """Wait until every span has ended; there is one per call on the client's side, and one per call that arrived."""

    def done() -> bool:
        gc.collect()
        return spans.started == len(spans.ended)

    wait_until(done, 30)
    clients = [span for span in spans.ended if span.kind is SpanKind.CLIENT]
    assert len(clients) == calls
    assert len({span.context.span_id for span in spans.ended}) == len(spans.ended)
    statuses = {span.attributes["rpc.grpc.status_code"] for span in clients}
    assert statuses <= {1, 4}, statuses
    servers = [span for span in spans.ended if span.kind is SpanKind.SERVER]
    assert servers
    assert {span.attributes["rpc.grpc.status_code"] for span in servers} <= {0, 1, 4}


def _one_round(call: Any, streams: Any, single_threaded: Any) -> None:
    with pytest.raises(grpc.RpcError):
        call(b"", timeout=SHORT)
    call.future(b"", timeout=PATIENCE).cancel()
    call.future(b"", timeout=PATIENCE)  # dropped at once
    streams(b"", timeout=PATIENCE)  # and so is this
    for kind in (streams, single_threaded):
        responses = kind(b"", timeout=PATIENCE)
        assert next(responses) == b"first"
        responses.cancel()
        for response in kind(b"", timeout=PATIENCE):
            assert response == b"first"
            break


@pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
def test_sync_calls_leave_no_span_open(ours: bool, spans: Spans) -> None:
    interceptors: list[Any] = [
        *telemetry.server_interceptors(tracer_provider=spans.provider),
        *grpc_heartbeat.server_interceptors(),
    ]
    server = SyncServer({"UnaryUnary": _hold, "UnaryStream": _stream}, interceptors, workers=64)
    options = [("SingleThreadedUnaryStream", 1)]
    make: Any = grpc_heartbeat.insecure_channel if ours else grpc.insecure_channel
    with make(server.target) as plain, make(server.target, options) as single:
        tracing = telemetry.client_interceptors(tracer_provider=spans.provider)
        channel, one_thread = (grpc.intercept_channel(each, *tracing) for each in (plain, single))
        call: Any = channel.unary_unary(path("UnaryUnary"))
        streams: Any = channel.unary_stream(path("UnaryStream"))
        single_threaded: Any = one_thread.unary_stream(path("UnaryStream"))
        for _ in range(ROUNDS):
            _one_round(call, streams, single_threaded)
        check(spans, ROUNDS * 8)
    server.close()


@pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
def test_asyncio_calls_leave_no_span_open(ours: bool, loop: LoopThread, spans: Spans) -> None:
    interceptors: list[Any] = [
        *telemetry.aio_server_interceptors(tracer_provider=spans.provider),
        *grpc_heartbeat.aio.server_interceptors(),
    ]
    server = AioServer(loop, {"UnaryUnary": _hold_aio, "UnaryStream": _stream_aio}, interceptors)
    make: Any = grpc_heartbeat.aio.insecure_channel if ours else grpc.aio.insecure_channel

    async def run(rounds: int) -> None:
        tracing = telemetry.aio_client_interceptors(tracer_provider=spans.provider)
        async with make(server.target, interceptors=tracing) as channel:
            call: Any = channel.unary_unary(path("UnaryUnary"))
            streams: Any = channel.unary_stream(path("UnaryStream"))
            for _ in range(rounds):
                await one_round(call, streams)

    async def one_round(call: Any, streams: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"", timeout=SHORT)
        started = call(b"", timeout=PATIENCE)
        await asyncio.sleep(0)
        started.cancel()
        task = asyncio.ensure_future(_await(call(b"", timeout=PATIENCE)))
        await asyncio.sleep(0.001)  # sleep: the call is under way by then, or not: both happen
        task.cancel()
        await asyncio.gather(started, task, return_exceptions=True)
        for kind in ("read", "cancel", "expire"):
            responses = streams(b"", timeout=SHORT if kind == "expire" else PATIENCE)
            assert await responses.read() == b"first"
            if kind == "cancel":
                responses.cancel()
            elif kind == "expire":
                with pytest.raises(grpc.aio.AioRpcError):
                    await responses.read()
            del responses
        async for response in streams(b"", timeout=PATIENCE):
            assert response == b"first"
            break
        dropped = streams(b"", timeout=PATIENCE)
        await dropped.read()
        del dropped

    for _ in range(ROUNDS):
        loop.run(run(1))
    check(spans, ROUNDS * 8)
    server.close()


async def _await(call: Any) -> Any:
    return await call
