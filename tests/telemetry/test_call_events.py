"""Calls that end early are told to observers: once each, in the context of their caller, on every way to make a call."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio, deadline, events
from tests.channel import dead_ends, ways, ways_aio
from tests.peers import PATIENCE, LoopThread, SyncServer, path, wait_until

LIMIT = 0.2

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Heard:
    """An observer that remembers what it heard and who called."""

    def __init__(self) -> None:
        self.events: list[events.CallEndedEarly] = []
        self.callers: list[str] = []

    def __call__(self, event: events.Event) -> None:
        assert isinstance(event, events.CallEndedEarly)
        self.events.append(event)
        self.callers.append(who.get())


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    events.observe_calls(heard)
    who.set("the caller")
    yield heard
    events.stop_observing_calls(heard)


def _hold(_: Any, context: Any) -> bytes:
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(PATIENCE)
    return b""


def _hold_stream(_: Any, context: Any) -> Iterator[bytes]:
    yield _hold(_, context)


@pytest.fixture
def slow() -> Iterator[SyncServer]:
    server = SyncServer(
        {"UnaryUnary": _hold, "UnaryStream": _hold_stream, "StreamUnary": _hold, "StreamStream": _hold_stream}
    )
    yield server
    server.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


def only(heard: Heard) -> events.CallEndedEarly:
    (event,) = heard.events
    return event


@pytest.mark.parametrize("public_api_only", [False, True], ids=["seam", "public api"])
@pytest.mark.parametrize("way", ways.WAYS)
def test_each_way_of_the_sync_stack_tells_once(
    way: str, public_api_only: bool, slow: SyncServer, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    if public_api_only:
        monkeypatch.setattr(_grpcio, "usable", lambda: False)
    channel = grpc_heartbeat.insecure_channel(slow.target, ways.options(way), name="orders")
    with channel, pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
        ways.WAYS[way](channel, [b"x"], timeout=LIMIT)
    wait_until(lambda: heard.events)
    event = only(heard)
    kind = "UnaryUnary" if way in ("call", "with_call", "future") else event.method.rpartition("/")[2]
    assert event.method == path(kind)
    assert (event.status, event.facts.layer, event.facts.limit) == ("DEADLINE_EXCEEDED", "total", LIMIT)
    assert event.facts.source == "explicit"
    assert event.peer == "orders"
    assert event.remaining is not None
    assert -PATIENCE < event.remaining < 0.05
    assert heard.callers == ["the caller"]


@pytest.mark.parametrize("way", ways.WAYS)
def test_a_layer_that_ends_a_call_tells_once_in_the_context_of_the_caller(
    way: str, slow: SyncServer, heard: Heard
) -> None:
    timeouts = Timeouts(total=PATIENCE, header=LIMIT)
    with grpc_heartbeat.insecure_channel(slow.target, ways.options(way), timeouts=timeouts) as channel:
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            ways.WAYS[way](channel, [b"x"], timeout=PATIENCE)
        wait_until(lambda: heard.events)
    event = only(heard)
    assert (event.facts.layer, event.facts.limit) == ("header", LIMIT)
    assert event.remaining is not None
    assert 0 < event.remaining < PATIENCE - LIMIT / 2
    assert heard.callers == ["the caller"]


@pytest.mark.parametrize("way", ways.WAYS)
def test_interceptors_tell_once(way: str, slow: SyncServer, heard: Heard) -> None:
    with grpc.insecure_channel(slow.target, ways.options(way)) as inner:
        channel = grpc.intercept_channel(inner, *grpc_heartbeat.client_interceptors(timeouts=Timeouts(header=LIMIT)))
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            ways.WAYS[way](channel, [b"x"], timeout=2 * LIMIT)
        wait_until(lambda: heard.events)
    assert only(heard).facts.layer in ("header", "total")
    assert heard.callers == ["the caller"]


def test_our_interceptor_around_our_channel_tells_once(slow: SyncServer, heard: Heard) -> None:
    with grpc_heartbeat.insecure_channel(slow.target) as inner:
        channel = grpc.intercept_channel(inner, *grpc_heartbeat.client_interceptors())
        for way in ("call", "future", "unary_stream"):
            with pytest.raises(grpc.RpcError):
                ways.WAYS[way](channel, [b"x"], timeout=LIMIT)
    wait_until(lambda: len(heard.events) >= 3)
    assert len(heard.events) == 3


def test_a_future_that_nobody_asks_tells_all_the_same(slow: SyncServer, heard: Heard) -> None:
    with grpc_heartbeat.insecure_channel(slow.target) as channel:
        future = channel.unary_unary(path("UnaryUnary")).future(b"x", timeout=LIMIT)
        wait_until(lambda: heard.events)
        assert only(heard).facts.layer == "total"
        del future


@pytest.mark.parametrize("way", ways.WAYS)
def test_a_call_that_may_not_start_tells_once(way: str, heard: Heard) -> None:
    channel = grpc_heartbeat.insecure_channel("127.0.0.1:1", ways.options(way))
    with channel, deadline.limit(0.0), pytest.raises(grpc.RpcError):
        ways.WAYS[way](channel, [b"x"])
    event = only(heard)
    assert event.status == "DEADLINE_EXCEEDED"
    assert "was not sent" in event.details
    assert event.remaining is None or event.remaining <= 0


@pytest.mark.parametrize("way", ["call", "future", "unary_stream"])
def test_what_is_no_time_out_is_not_told(way: str, heard: Heard) -> None:
    def fail(_: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, "no")

    def fail_stream(_: Any, context: Any) -> Iterator[bytes]:
        yield fail(_, context)

    server = SyncServer({"UnaryUnary": fail, "UnaryStream": fail_stream})
    with grpc_heartbeat.insecure_channel(server.target) as channel:
        with pytest.raises(grpc.RpcError):
            ways.WAYS[way](channel, [b"x"], timeout=PATIENCE)
        cancelled = channel.unary_stream(path("UnaryStream"))(b"x", timeout=PATIENCE)
        cancelled.cancel()
        assert cancelled.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND)
    server.close()
    assert heard.events == []


@pytest.mark.parametrize("install", ["channel", "interceptors"])
@pytest.mark.parametrize("way", ways_aio.WAYS)
def test_each_way_of_the_asyncio_stack_tells_once(
    way: str, install: str, slow: SyncServer, loop: LoopThread, heard: Heard
) -> None:
    async def call() -> None:
        who.set("a task")
        if install == "channel":
            channel: Any = grpc_heartbeat.aio.insecure_channel(slow.target, name="orders")
        else:
            channel = grpc.aio.insecure_channel(slow.target, interceptors=grpc_heartbeat.aio.client_interceptors())
        async with channel:
            with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                await ways_aio.WAYS[way].run(channel, b"x", timeout=LIMIT)

    loop.run(call())
    event = only(heard)
    assert event.method == path(ways_aio.WAYS[way].kind)
    assert (event.facts.layer, event.facts.limit, event.facts.source) == ("total", LIMIT, "explicit")
    assert event.peer == ("orders" if install == "channel" else "")
    assert event.remaining is not None
    assert heard.callers == ["a task"]


@pytest.mark.parametrize("way", ways_aio.WAYS)
def test_a_layer_on_asyncio_tells_once_in_the_context_of_the_caller(
    way: str, slow: SyncServer, loop: LoopThread, heard: Heard
) -> None:
    async def call() -> None:
        who.set("a task")
        timeouts = Timeouts(total=PATIENCE, header=LIMIT)
        async with grpc_heartbeat.aio.insecure_channel(slow.target, timeouts=timeouts) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ways_aio.WAYS[way].run(channel, b"x", timeout=PATIENCE)

    loop.run(call())
    event = only(heard)
    assert (event.facts.layer, event.facts.limit) == ("header", LIMIT)
    assert heard.callers == ["a task"]


async def test_no_connection_is_told_with_its_layer(heard: Heard) -> None:
    with dead_ends.silent() as target:
        async with grpc_heartbeat.aio.insecure_channel(target, timeouts=Timeouts(connect=LIMIT)) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(path("UnaryUnary"))(b"x", timeout=PATIENCE)
    assert (only(heard).facts.layer, only(heard).status) == ("connect", "UNAVAILABLE")


async def test_a_spent_budget_on_asyncio_is_told(heard: Heard) -> None:
    async with grpc_heartbeat.aio.insecure_channel("127.0.0.1:1", name="nobody") as channel:
        with deadline.limit(0.0), pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(path("UnaryUnary"))(b"x")
    assert "was not sent" in only(heard).details
    assert only(heard).peer == "nobody"


def test_the_inbound_rpc_that_ends_first_is_told_as_the_scope(slow: SyncServer, heard: Heard) -> None:
    with grpc_heartbeat.insecure_channel(slow.target) as onward:
        ended = threading.Event()

        def relay(_: bytes, context: Any) -> bytes:
            try:
                return bytes(onward.unary_unary(path("UnaryUnary"))(b""))
            finally:
                ended.set()

        middle = SyncServer({"UnaryUnary": relay}, grpc_heartbeat.server_interceptors())
        with grpc.insecure_channel(middle.target) as plain:
            call: Any = plain.unary_unary(path("UnaryUnary"))
            with pytest.raises(grpc.RpcError):
                call(b"", timeout=LIMIT)
            assert ended.wait(PATIENCE)
        middle.close()
    wait_until(lambda: heard.events)
    event = only(heard)
    assert event.facts.layer in ("scope", "total")
    assert event.facts.source == f"inherited:{path('UnaryUnary')}"


@pytest.mark.internal_faults
def test_an_observer_that_raises_is_removed_and_the_call_ends_as_ever(slow: SyncServer) -> None:
    told = []

    def explode(event: events.Event) -> None:
        told.append(event)
        raise RuntimeError("broken")

    events.observe_calls(explode)
    with grpc_heartbeat.insecure_channel(slow.target) as channel:
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path("UnaryUnary"))(b"", timeout=LIMIT)
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(told) == 1


def test_a_method_of_an_object_stops_to_observe() -> None:
    class Object:
        def hear(self, event: events.Event) -> None:
            raise AssertionError("nobody told it to stop")

    observer = Object()
    for observe, stop in (
        (events.observe_calls, events.stop_observing_calls),
        (events.observe_rpcs, events.stop_observing_rpcs),
        (events.observe_beats, events.stop_observing_beats),
    ):
        observe(observer.hear)
        stop(observer.hear)
        stop(observer.hear)
    with grpc_heartbeat.insecure_channel("127.0.0.1:1") as channel, deadline.limit(0.0), pytest.raises(grpc.RpcError):
        channel.unary_unary(path("UnaryUnary"))(b"")
