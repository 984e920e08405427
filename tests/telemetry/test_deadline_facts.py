"""Facts about deadlines on the spans that OpenTelemetry's own instrumentation makes, and on the application's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation import grpc as instrumentation
from opentelemetry.trace import SpanKind

import grpc_heartbeat
from grpc_heartbeat import Timeouts, telemetry
from grpc_heartbeat.telemetry.deadline_facts import EVENT
from tests.heartbeat.ends import Spans
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

PLACE = "grpc_heartbeat.deadline."
LIMIT = 0.2


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    with telemetry.instrument(metrics=False):
        yield spans
    spans.provider.shutdown()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


otel: Any = instrumentation


def facts(span: Any) -> dict[str, Any]:
    """Return the facts on ``span``, by their names without the namespace."""
    return {key.removeprefix(PLACE): value for key, value in span.attributes.items() if key.startswith(PLACE)}


def _hold(_: Any, context: Any) -> bytes:
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(PATIENCE)
    return b""


def _one(request: bytes, _: Any) -> bytes:
    return request


def _many(request: bytes, _: Any) -> Iterator[bytes]:
    yield from [request] * 3


async def _one_aio(request: bytes, _: Any) -> bytes:
    return request


async def _many_aio(request: bytes, _: Any) -> Any:
    for _number in range(3):
        yield request


SERVERS: dict[str, Callable[[LoopThread, Spans], Any]] = {
    "sync": lambda _, spans: SyncServer(
        {"UnaryUnary": _one, "UnaryStream": _many},
        [otel.server_interceptor(spans.provider), *grpc_heartbeat.server_interceptors()],
    ),
    "aio": lambda loop, spans: AioServer(
        loop,
        {"UnaryUnary": _one_aio, "UnaryStream": _many_aio},
        [otel.aio_server_interceptor(spans.provider), *grpc_heartbeat.aio.server_interceptors()],
    ),
}


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
@pytest.mark.parametrize("stack", SERVERS)
def test_a_servers_span_says_what_was_left_at_entry_and_exit(
    stack: str, kind: str, loop: LoopThread, spans: Spans
) -> None:
    server = SERVERS[stack](loop, spans)
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary if kind == "UnaryUnary" else channel.unary_stream
        for timeout in (PATIENCE, None):
            answer = call(path(kind))(b"x", timeout=timeout)
            assert answer == b"x" or list(answer) == [b"x"] * 3
    wait_until(lambda: len(spans.ended) == 2)
    server.close()
    limited, free = (facts(span) for span in spans.ended)
    assert PATIENCE / 2 < limited["remaining_at_exit"] <= limited["remaining_at_entry"] < PATIENCE * 1.05
    assert 0 <= limited["queue_delay"] < PATIENCE
    assert set(free) == {"queue_delay"}
    assert "reason" not in limited


@pytest.mark.parametrize("stack", ["sync", "asyncio"])
def test_an_rpc_without_a_deadline_has_no_facts_about_it(stack: str, loop: LoopThread, spans: Spans) -> None:
    server: Any
    if stack == "sync":
        server = SyncServer({"UnaryUnary": _one}, telemetry.server_interceptors(tracer_provider=spans.provider))
    else:
        traced = telemetry.aio_server_interceptors(tracer_provider=spans.provider)
        server = AioServer(loop, {"UnaryUnary": _one_aio}, traced)
    with telemetry.trace_channel(grpc.insecure_channel(server.target), tracer_provider=spans.provider) as channel:
        assert channel.unary_unary(path("UnaryUnary"))(b"?") == b"?"
    wait_until(lambda: len(spans.ended) == 2)
    server.close()
    assert [facts(span) for span in spans.ended] == [{}] * 2


def test_a_handler_whose_client_left_says_why(spans: Spans) -> None:
    interceptors = [otel.server_interceptor(spans.provider), *grpc_heartbeat.server_interceptors()]
    server = SyncServer({"UnaryUnary": _hold}, interceptors)
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary(path("UnaryUnary"))
        with pytest.raises(grpc.RpcError):
            call(b"", timeout=LIMIT)
        wait_until(lambda: spans.ended)
    server.close()
    found = facts(spans.ended[0])
    assert found["reason"] == "expired"
    assert found["remaining_at_exit"] < 0.05 < found["remaining_at_entry"]


@pytest.mark.parametrize("way", ["call", "future"])
def test_a_clients_span_says_which_limit_ended_it(way: str, spans: Spans) -> None:
    """OpenTelemetry's client interceptor around our channel: its span is current where our channel is called."""
    server = SyncServer({"UnaryUnary": _hold})
    timeouts = Timeouts(total=PATIENCE, header=LIMIT)
    with grpc_heartbeat.insecure_channel(server.target, timeouts=timeouts) as ours:
        channel = otel.grpcext.intercept_channel(ours, otel.client_interceptor(spans.provider))
        call = channel.unary_unary(path("UnaryUnary"))
        with pytest.raises(grpc.RpcError):
            call(b"") if way == "call" else call.future(b"").result()
        wait_until(lambda: spans.ended)
    server.close()
    (span,) = spans.ended
    assert span.kind is SpanKind.CLIENT
    found = facts(span)
    assert found["layer"] == "header"
    assert found["limit"] == LIMIT
    assert found["source"] == "policy:default"
    assert found["elapsed"] >= LIMIT * 0.9
    assert 0 < found["remaining"] < PATIENCE


async def test_another_span_gets_an_event(spans: Spans) -> None:
    async def hold(_: bytes, __: Any) -> bytes:
        await asyncio.sleep(PATIENCE)  # sleep: a handler that is too slow
        return b""

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    behavior: Any = hold
    handler: Any = {"UnaryUnary": grpc.unary_unary_rpc_method_handler(behavior)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Chain", handler),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tracer = spans.provider.get_tracer("test")
    async with grpc_heartbeat.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with tracer.start_as_current_span("checkout"):
            call = channel.unary_unary(path("UnaryUnary"))
            results = await asyncio.gather(
                *(call(b"", timeout=timeout) for timeout in (LIMIT, LIMIT / 2)), return_exceptions=True
            )
    await server.stop(None)
    assert all(isinstance(result, grpc.aio.AioRpcError) for result in results)
    (span,) = spans.ended
    assert not facts(span)
    assert [event.name for event in span.events] == [EVENT, EVENT]
    assert sorted(event.attributes[PLACE + "limit"] for event in span.events) == [LIMIT / 2, LIMIT]
    assert {event.attributes[PLACE + "method"] for event in span.events} == {path("UnaryUnary")}
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_two_instrumentations_end_separately(spans: Spans) -> None:
    with telemetry.instrument(metrics=False):
        pass
    tracer = spans.provider.get_tracer("test")
    channel = grpc_heartbeat.insecure_channel("127.0.0.1:1")
    spent = grpc_heartbeat.deadline.limit(0.0)
    with channel, tracer.start_as_current_span("checkout"), spent, pytest.raises(grpc.RpcError):
        channel.unary_unary(path("UnaryUnary"))(b"")
    assert [event.name for event in spans.ended[0].events] == [EVENT]
