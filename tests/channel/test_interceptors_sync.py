"""The layers as far as the official client interceptors allow them, and nothing broken where they do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio
from grpc_heartbeat.errors import timeout_of
from tests.channel import dead_ends
from tests.channel.test_layers_sync import AMPLE, LIMIT, Deaf, Slow, ended, ended_late
from tests.channel.ways import READING, WAYS, WRITING, endless, options
from tests.peers import PATIENCE, handlers, path
from tests.seams import PUBLIC_API_ONLY, each, needs_seam

BLOCKING = ("call", "with_call", "stream_unary", "stream_unary with_call")
"""Those that by public API end with their deadline only, and in gRPC's words."""
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    yield server
    server.close()


@pytest.fixture
def dial() -> Iterator[Any]:
    with ExitStack() as stack:

        def open_one(target: str, way: str, **limits: float) -> grpc.Channel:
            bare = stack.enter_context(grpc.insecure_channel(target, options=options(way)))
            return grpc.intercept_channel(bare, *grpc_heartbeat.client_interceptors(timeouts=Timeouts(**limits)))

        yield open_one


@pytest.mark.parametrize("way", each(WAYS, needing=(*BLOCKING, "future", "unary_stream single-threaded")))
def test_header(slow: Slow, dial: Any, way: str) -> None:
    channel = dial(slow.target, way, header=LIMIT)
    grpc.channel_ready_future(channel).result(PATIENCE)
    ended(lambda: WAYS[way](channel, [b"hold"]), "header")


@each_way
def test_a_server_that_accepts_and_then_takes_its_time(slow: Slow, dial: Any, way: str) -> None:
    channel = dial(slow.target, way, header=AMPLE)
    assert WAYS[way](channel, [b"accept slow"]) in (b"accept slow", [b"accept slow"])


@pytest.mark.parametrize("way", READING)
def test_idle(slow: Slow, dial: Any, way: str) -> None:
    channel = dial(slow.target, way, idle=LIMIT)
    ended(lambda: WAYS[way](channel, [b"then idle"]), "idle")


@pytest.mark.parametrize("way", each(WRITING, needing=BLOCKING))
def test_write(deaf: Deaf, dial: Any, way: str) -> None:
    channel = dial(deaf.target, way, write=LIMIT)
    ended_late(lambda: WAYS[way](channel, endless(bytes(1 << 20))))


@each_way
def test_total(slow: Slow, dial: Any, way: str) -> None:
    channel = dial(slow.target, way, total=20)
    with pytest.raises(grpc.RpcError) as caught:
        WAYS[way](channel, [b"hold"], timeout=LIMIT)
    error: Any = caught.value
    facts = timeout_of(error)
    assert facts is not None
    assert (facts.layer, facts.limit, facts.source) == ("total", LIMIT, "explicit")
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "(explicit)" in error.details() or (way in BLOCKING and PUBLIC_API_ONLY)


@needs_seam  # by public API an interceptor cannot see that there is none
@each_way
def test_a_connection_that_is_waited_for_is_not_the_servers_delay(dial: Any, way: str) -> None:
    """There is no connect limit here, and the header limit runs from the connection only."""
    with dead_ends.silent() as target:
        channel = dial(target, way, connect=LIMIT, header=LIMIT)
        with pytest.raises(grpc.RpcError) as caught:
            WAYS[way](channel, [b"x"], timeout=LIMIT * 3)
    facts = timeout_of(caught.value)
    assert facts is not None
    assert facts.layer == "total"


@pytest.mark.parametrize("way", ["call", "with_call"])
def test_without_the_seam_a_blocking_call_has_its_total_only(
    slow: Slow, dial: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    channel = dial(slow.target, way, header=LIMIT, total=20)
    assert WAYS[way](channel, [b"slow"]) == b"slow"  # which takes longer than the limit


def test_around_a_channel_of_ours_the_inner_words_stand(slow: Slow) -> None:
    with grpc_heartbeat.insecure_channel(slow.target, timeouts=Timeouts(header=LIMIT)) as inner:
        channel = grpc.intercept_channel(inner, *grpc_heartbeat.client_interceptors(timeouts=Timeouts(total=20)))
        for way in ("call", "future", "unary_stream"):
            ended(lambda way=way: WAYS[way](channel, [b"hold"]), "header")  # type: ignore[misc]


def test_a_future_under_interceptors_can_be_cancelled(slow: Slow, dial: Any) -> None:
    channel = dial(slow.target, "future", header=20, total=20)
    call = channel.unary_unary(path("UnaryUnary")).future(b"hold")
    threading.Timer(0.05, call.cancel).start()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(PATIENCE)


@needs_seam
def test_a_connection_that_comes_late_starts_the_header_limit() -> None:
    quick = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
    over = threading.Event()

    def hold(request: bytes, context: Any) -> bytes:
        context.add_callback(over.set)
        over.wait(PATIENCE)
        return request

    with dead_ends.refused() as target, grpc.insecure_channel(target, options=quick) as bare:
        interceptors = grpc_heartbeat.client_interceptors(timeouts=Timeouts(header=LIMIT))
        method: Any = grpc.intercept_channel(bare, *interceptors).unary_unary(path("UnaryUnary"))
        call = method.future(b"x", wait_for_ready=True)
        threading.Event().wait(LIMIT * 2)  # longer than it is looked at for the first time, and than the limit
        assert not call.done()
        with ThreadPoolExecutor(1) as pool:
            server = grpc.server(pool, options=[("grpc.so_reuseport", 1)])  # ``refused`` holds the port
            server.add_generic_rpc_handlers((handlers({"UnaryUnary": hold}),))
            server.add_insecure_port(target)
            server.start()
            ended(lambda: call.result(PATIENCE), "header")
            server.stop(None).wait(PATIENCE)
