"""Spans of business RPCs: one on each side, in one trace, with OpenTelemetry's names, whatever the stack and the style."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation import grpc as instrumentation
from opentelemetry.trace import SpanKind, StatusCode

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio, telemetry
from grpc_heartbeat.telemetry.rpc_spans import SCOPE
from tests.channel import ways, ways_aio
from tests.heartbeat.ends import Spans
from tests.peers import KINDS, PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until

LIMIT = 0.2
otel: Any = instrumentation


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


def _answer(request: bytes, context: Any) -> bytes:
    """Answer, or fail as the request says; what is current is noted on the span."""
    trace.get_current_span().set_attribute("seen", True)
    if request == b"abort":
        context.abort(grpc.StatusCode.NOT_FOUND, "none")
    if request == b"set":
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("lost")
    if request == b"raise":
        raise RuntimeError("broken")
    return b"answer"


async def _answer_aio(request: bytes, context: Any) -> bytes:
    trace.get_current_span().set_attribute("seen", True)
    if request == b"abort":
        await context.abort(grpc.StatusCode.NOT_FOUND, "none")
    return _answer(request, context)


def _sync_stream(request: bytes, context: Any) -> Iterator[bytes]:
    for _ in range(3):
        yield _answer(request, context)


def _sync_streams(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from _sync_stream(next(requests), context)


async def _generator(request: bytes, context: Any) -> Any:
    for _ in range(3):
        yield await _answer_aio(request, context)


async def _writer(request: bytes, context: Any) -> None:
    for _ in range(3):
        await context.write(await _answer_aio(request, context))


STYLES: dict[str, dict[str, Any]] = {
    "sync": {
        "UnaryUnary": _answer,
        "UnaryStream": _sync_stream,
        "StreamUnary": lambda requests, context: _answer(next(requests), context),
        "StreamStream": _sync_streams,
    },
    "aio plain": {
        "UnaryUnary": _answer,
        "UnaryStream": _sync_stream,
        "StreamUnary": lambda requests, context: _answer(next(requests), context),
        "StreamStream": _sync_streams,
    },
    "aio": {"UnaryUnary": _answer_aio, "UnaryStream": _generator},
    "aio writer": {"UnaryUnary": _answer_aio, "UnaryStream": _writer},
}


def serve(style: str, loop: LoopThread, spans: Spans, *, deadlines: bool = True) -> Any:
    """Return a server whose handlers are of ``style``, traced by us, with our deadlines or without."""
    behaviors = STYLES[style]
    if style == "sync":
        traced: list[Any] = [*telemetry.server_interceptors(tracer_provider=spans.provider)]
        return SyncServer(behaviors, [*traced, *(grpc_heartbeat.server_interceptors() if deadlines else [])])
    traced = [*telemetry.aio_server_interceptors(tracer_provider=spans.provider)]
    return AioServer(loop, behaviors, [*traced, *(grpc_heartbeat.aio.server_interceptors() if deadlines else [])])


def one(spans: Spans, kind: SpanKind) -> Any:
    (span,) = [span for span in spans.ended if span.kind is kind]
    return span


def settled(spans: Spans, count: int) -> list[Any]:
    """Wait until ``count`` spans have ended; return them. None may be open then."""
    wait_until(lambda: len(spans.ended) >= count)
    assert spans.started == len(spans.ended) == count
    return spans.ended


@pytest.mark.parametrize("deadlines", [True, False], ids=["with deadlines", "alone"])
@pytest.mark.parametrize(("request_", "status"), [(b"ok", 0), (b"abort", 5), (b"set", 15), (b"raise", 2)])
@pytest.mark.parametrize(("style", "kind"), [(style, kind) for style in STYLES for kind in STYLES[style]])
def test_both_sides_make_a_span_of_one_trace_with_the_status(
    style: str, kind: str, request_: bytes, status: int, deadlines: bool, loop: LoopThread, spans: Spans
) -> None:
    server = serve(style, loop, spans, deadlines=deadlines)
    way = {"UnaryUnary": "call", "UnaryStream": "unary_stream", "StreamUnary": "stream_unary"}.get(
        kind, "stream_stream"
    )
    with grpc.insecure_channel(server.target) as plain:
        channel = grpc.intercept_channel(plain, *telemetry.client_interceptors(tracer_provider=spans.provider))
        if status:
            with pytest.raises(grpc.RpcError):
                ways.WAYS[way](channel, [request_], timeout=PATIENCE)
        else:
            assert ways.WAYS[way](channel, [request_], timeout=PATIENCE) in (b"answer", [b"answer"] * 3)
    settled(spans, 2)
    server.close()
    client, handled = one(spans, SpanKind.CLIENT), one(spans, SpanKind.SERVER)
    assert handled.context.trace_id == client.context.trace_id
    assert handled.parent.span_id == client.context.span_id
    for span in (client, handled):
        assert span.name == path(kind)
        assert span.instrumentation_scope.name == SCOPE
        expected = {
            "rpc.system": "grpc",
            "rpc.service": "test.Chain",
            "rpc.method": kind,
            "rpc.grpc.status_code": status,
        }
        assert expected.items() <= dict(span.attributes).items()
        left = span.attributes["grpc_heartbeat.deadline.remaining_at_entry"]
        assert PATIENCE / 2 < span.attributes["grpc_heartbeat.deadline.remaining_at_exit"] <= left < PATIENCE * 1.05
    assert handled.attributes["seen"]
    assert client.status.is_unset == (status == 0)
    assert (handled.status.status_code is StatusCode.ERROR) == (status in (2, 15))
    assert [event.name for event in handled.events] == (["exception"] if status == 2 else [])


@pytest.mark.parametrize("way", ways.WAYS)
@pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
def test_every_way_of_the_sync_stack_has_one_span_and_ends_it(
    way: str, ours: bool, loop: LoopThread, spans: Spans
) -> None:
    server = SyncServer(STYLES["sync"])
    make: Any = grpc_heartbeat.insecure_channel if ours else grpc.insecure_channel
    with make(server.target, ways.options(way)) as inner:
        channel = grpc.intercept_channel(inner, *telemetry.client_interceptors(tracer_provider=spans.provider))
        assert ways.WAYS[way](channel, [b"ok"], timeout=PATIENCE) in (b"answer", [b"answer"] * 3)
        with pytest.raises(grpc.RpcError):
            ways.WAYS[way](channel, [b"abort"])
        settled(spans, 2)
    server.close()
    assert [span.attributes["rpc.grpc.status_code"] for span in spans.ended] == [0, 5]


@pytest.mark.parametrize("way", ways_aio.WAYS)
@pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
def test_every_way_of_the_asyncio_stack_has_one_span_and_ends_it(
    way: str, ours: bool, loop: LoopThread, spans: Spans
) -> None:
    server = SyncServer(STYLES["sync"])

    async def run() -> None:
        make: Any = grpc_heartbeat.aio.insecure_channel if ours else grpc.aio.insecure_channel
        interceptors = telemetry.aio_client_interceptors(tracer_provider=spans.provider)
        async with make(server.target, interceptors=interceptors) as channel:
            assert await ways_aio.WAYS[way].run(channel, b"ok", timeout=PATIENCE)
            with pytest.raises((grpc.RpcError, asyncio.InvalidStateError)):
                await ways_aio.WAYS[way].run(channel, b"abort")

    loop.run(run())
    settled(spans, 2)
    server.close()
    assert [span.attributes["rpc.grpc.status_code"] for span in spans.ended] == [0, 5]


def test_the_limit_that_ended_a_call_is_on_its_span(spans: Spans) -> None:
    def hold(_: bytes, context: Any) -> bytes:
        over = threading.Event()
        if context.add_callback(over.set):
            over.wait(PATIENCE)
        return b""

    server = SyncServer({"UnaryUnary": hold})
    with grpc_heartbeat.insecure_channel(server.target, timeouts=Timeouts(total=PATIENCE, header=LIMIT)) as inner:
        channel = grpc.intercept_channel(inner, *telemetry.client_interceptors(tracer_provider=spans.provider))
        for way in ("call", "future"):
            with pytest.raises(grpc.RpcError):
                ways.WAYS[way](channel, [b""])
        for span in settled(spans, 2):
            assert span.attributes["grpc_heartbeat.deadline.layer"] == "header"
            assert span.attributes["grpc_heartbeat.deadline.limit"] == LIMIT
            assert span.attributes["grpc_heartbeat.deadline.source"] == "policy:default"
            assert span.attributes["rpc.grpc.status_code"] == 4
    server.close()


def test_heartbeats_health_and_exporters_are_left_alone(spans: Spans) -> None:
    (interceptor,) = telemetry.client_interceptors(tracer_provider=spans.provider)
    for method in (
        "/grpc_heartbeat.v1.Heartbeat/Keepalive",
        "/grpc.health.v1.Health/Watch",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ):
        with grpc.insecure_channel("127.0.0.1:1") as plain:
            channel: Any = grpc.intercept_channel(plain, interceptor)
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(method)(b"", timeout=PATIENCE)
    assert spans.started == 0


def test_metadata_stays_a_multimap_and_the_context_replaces_an_older_one(spans: Spans) -> None:
    seen: list[Any] = []

    def note(_: bytes, context: Any) -> bytes:
        seen.extend((key, value) for key, value in context.invocation_metadata())
        return b""

    server = SyncServer({"UnaryUnary": note})
    with grpc.insecure_channel(server.target) as plain:
        channel: Any = grpc.intercept_channel(plain, *telemetry.client_interceptors(tracer_provider=spans.provider))
        metadata = (("k", "1"), ("k", "2"), ("k-bin", b"\x00"), ("traceparent", "old"))
        channel.unary_unary(path("UnaryUnary"))(b"", metadata=metadata)
    server.close()
    assert [value for key, value in seen if key == "k"] == ["1", "2"]
    assert ("k-bin", b"\x00") in seen
    (context,) = [value for key, value in seen if key == "traceparent"]
    assert f"{settled(spans, 1)[0].context.trace_id:032x}" in context


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
def test_names_and_attributes_are_those_of_opentelemetrys_instrumentation(
    kind: str, loop: LoopThread, spans: Spans
) -> None:
    """Both make the spans of the same RPCs, each with its own provider."""
    theirs = Spans()
    way = "call" if kind == "UnaryUnary" else "unary_stream"
    for request in (b"ok", b"abort"):
        for provider, client, server_side in (
            (spans, telemetry.client_interceptors, telemetry.server_interceptors),
            (theirs, None, None),
        ):
            if client is None or server_side is None:
                server = SyncServer(STYLES["sync"], [otel.server_interceptor(provider.provider)])
            else:
                server = SyncServer(STYLES["sync"], server_side(tracer_provider=provider.provider))
            with grpc.insecure_channel(server.target) as plain:
                if client is None:
                    channel = otel.grpcext.intercept_channel(plain, otel.client_interceptor(provider.provider))
                else:
                    channel = grpc.intercept_channel(plain, *client(tracer_provider=provider.provider))
                try:
                    ways.WAYS[way](channel, [request])
                except grpc.RpcError:
                    assert request == b"abort"
                wait_until(partial(_all_ended, provider))
            server.close()
    for ours_, other in zip(_sorted(spans), _sorted(theirs), strict=True):
        assert (ours_.name, ours_.kind) == (other.name, other.kind)
        assert ours_.status.status_code == other.status.status_code
        shared = {key: value for key, value in other.attributes.items() if key.startswith("rpc.")}
        shared.pop("rpc.user_agent", None)
        assert shared.items() <= dict(ours_.attributes).items()
    theirs.provider.shutdown()


def _all_ended(spans: Spans) -> bool:
    return spans.started == len(spans.ended)


def _sorted(spans: Spans) -> list[Any]:
    return sorted(spans.ended, key=lambda span: (span.kind.value, span.attributes["rpc.grpc.status_code"]))


def test_all_kinds_are_served() -> None:
    assert set(KINDS) == set(STYLES["sync"])


class _Slow(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Holds up whoever hears of the end of a call after it."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        call.add_callback(partial(self.go_on.wait, PATIENCE))
        return call

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self.intercept_unary_unary(continuation, client_call_details, request)


@pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])
@pytest.mark.parametrize("way", ["future", "unary_stream"])
@pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
def test_a_call_that_is_dropped_after_its_end_was_not_cancelled(
    ours: bool, way: str, public_api_only: bool, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    if public_api_only:
        monkeypatch.setattr(_grpcio, "usable", lambda: False)
    server = SyncServer(STYLES["sync"])
    slow = _Slow()
    make: Any = grpc_heartbeat.insecure_channel if ours else grpc.insecure_channel
    with make(server.target) as inner:
        tracing = telemetry.client_interceptors(tracer_provider=spans.provider)
        channel = grpc.intercept_channel(inner, *tracing, slow)
        assert ways.WAYS[way](channel, [b"ok"], timeout=PATIENCE) in (b"answer", [b"answer"] * 3)
        slow.go_on.set()
        settled(spans, 1)
    server.close()
    # Without the seam nobody can tell that from a call that was dropped before its end.
    assert one(spans, SpanKind.CLIENT).attributes["rpc.grpc.status_code"] == (1 if public_api_only else 0)
