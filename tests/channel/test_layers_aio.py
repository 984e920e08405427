"""The layers of the asyncio channel on every way to make a call: what is late ends by name, what is in time does not."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _grpcio_aio
from grpc_heartbeat.channel.make import connect_options
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.errors import timeout_of
from tests.chain.hops import AioNoop
from tests.channel import dead_ends
from tests.channel.slow import BIG, HOLD, PAUSE, PAUSES, SILENT, STALL, SlowServer
from tests.channel.ways_aio import READING, WAYS, WRITING, asynchronously
from tests.peers import PATIENCE, SyncServer, path
from tests.seams import PUBLIC_API_ONLY

LIMIT = 0.2
LEAVES_TASKS = tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 83)
each_way = pytest.mark.parametrize("way", WAYS)

Install = Callable[..., grpc.aio.Channel]
INSTALLATIONS: dict[str, Install] = {
    "channel": grpc_heartbeat.aio.insecure_channel,
    "with interceptors": lambda target, timeouts: grpc_heartbeat.aio.insecure_channel(
        target, interceptors=[AioNoop()], timeouts=timeouts
    ),
    "wrapped": lambda target, timeouts: grpc_heartbeat.aio.wrap_channel(
        grpc.aio.insecure_channel(target), timeouts=timeouts
    ),
    "interceptors": lambda target, timeouts: grpc.aio.insecure_channel(
        target, interceptors=grpc_heartbeat.aio.client_interceptors(timeouts=timeouts)
    ),
}
each_installation = pytest.mark.parametrize("install", INSTALLATIONS)


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.close()


@asynccontextmanager
async def opened(target: str, install: str = "channel", **parts: float) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel with the limits that ``parts`` name."""
    channel = INSTALLATIONS[install](target, timeouts=Timeouts(**parts))
    try:
        yield channel
    finally:
        await channel.close()


async def ended(way: str, channel: Any, *requests: bytes, **kwargs: Any) -> tuple[grpc.aio.AioRpcError, TimeoutFacts]:
    """Make a call that is to be ended by a limit; return its error, which the call object must confirm, and the facts."""
    call = WAYS[way].start(channel, requests, **kwargs)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(WAYS[way].finish(call, requests), PATIENCE)
    error = caught.value
    assert call.done()
    if timeout_of(error) is not None:
        assert (await call.code(), await call.details()) == (error.code(), error.details())
    facts = timeout_of(error)
    assert facts is not None, error
    return error, facts


def check(error: grpc.aio.AioRpcError, facts: TimeoutFacts, layer: str, kind: str) -> None:
    assert facts.layer == layer
    assert error.code() is (grpc.StatusCode.UNAVAILABLE if layer == "connect" else grpc.StatusCode.DEADLINE_EXCEEDED)
    assert facts.limit == LIMIT
    assert facts.source == "policy:default"
    assert LIMIT <= facts.elapsed < PATIENCE / 2
    details = error.details() or ""
    assert path(kind) in details
    assert f"its {layer} time-out is {LIMIT} s (policy:default)" in details


# Connect


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wait", [None, True], ids=["fails fast", "waits for ready"])
async def test_a_peer_that_stays_silent_is_no_connection(way: str, wait: bool | None) -> None:
    with dead_ends.silent() as target:
        async with opened(target, connect=LIMIT) as channel:
            error, facts = await ended(way, channel, b"x", wait_for_ready=wait)
    check(error, facts, "connect", WAYS[way].kind)
    assert facts.connectivity in ("CONNECTING", "TRANSIENT_FAILURE")  # gRPC gives the attempt up, too, a little later
    assert "trying again is safe" in (error.details() or "")


@pytest.mark.parametrize("end", [dead_ends.black_hole, dead_ends.refused, dead_ends.unresolvable])
@pytest.mark.parametrize("way", ["unary-unary", "stream-stream by hand"])
async def test_a_call_that_would_wait_for_a_connection_ends(
    way: str, end: Callable[[], AbstractContextManager[str]]
) -> None:
    with end() as target:
        async with opened(target, connect=LIMIT) as channel:
            error, facts = await ended(way, channel, b"x", wait_for_ready=True)
    check(error, facts, "connect", WAYS[way].kind)
    if end is dead_ends.refused:
        assert facts.connectivity == "TRANSIENT_FAILURE"
        assert "refused" in (facts.last_error or "")
        assert "refused" in (error.details() or "")


async def test_tls_that_stalls_is_no_connection() -> None:
    with dead_ends.silent() as target:
        channel = grpc_heartbeat.aio.secure_channel(
            target, grpc.ssl_channel_credentials(), timeouts=Timeouts(connect=LIMIT)
        )
        error, facts = await ended("unary-unary", channel, b"x")
        await channel.close()
    check(error, facts, "connect", "UnaryUnary")


@pytest.mark.parametrize("install", ["with interceptors", "wrapped"])
async def test_other_installations_know_their_connection(install: str) -> None:
    for way in ("unary-unary", "unary-stream", "stream-unary by hand"):
        with dead_ends.silent() as target:  # a port each: channels share what they know of one
            async with opened(target, install, connect=LIMIT) as channel:
                check(*await ended(way, channel, b"x"), "connect", WAYS[way].kind)


@each_way
async def test_a_refused_call_that_does_not_wait_fails_as_ever(way: str) -> None:
    with dead_ends.refused() as target:
        async with opened(target, connect=PATIENCE, header=PATIENCE) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await WAYS[way].run(channel, b"x")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "refused" in (caught.value.details() or "")
    assert timeout_of(caught.value) is None


@each_way
async def test_a_connection_in_time_is_enough_and_header_time_runs_from_it(way: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    often = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
    limits = Timeouts(connect=PATIENCE, header=LIMIT, total=PATIENCE)
    async with grpc_heartbeat.aio.insecure_channel(f"127.0.0.1:{port}", often, timeouts=limits) as channel:
        call = WAYS[way].start(channel, [b"x"], wait_for_ready=True)
        finishing = asyncio.ensure_future(WAYS[way].finish(call, [b"x"]))
        await asyncio.wait([finishing], timeout=2 * LIMIT)
        assert not finishing.done()
        server = await asyncio.to_thread(_listen_at, port)
        try:
            assert await asyncio.wait_for(finishing, PATIENCE)
            # Now that the channel is ready, the same limits hold from the start.
            assert await WAYS[way].run(channel, b"x")
        finally:
            await asyncio.to_thread(server.close)


def _listen_at(port: int) -> SyncServer:
    def one(request: Any, context: Any) -> bytes:
        return b"%d" % len(list(request))

    def many(request: Any, context: Any) -> Iterator[bytes]:
        yield one(request, context)

    behaviors = {"UnaryUnary": one, "UnaryStream": many, "StreamUnary": one, "StreamStream": many}
    return SyncServer(behaviors, address=f"127.0.0.1:{port}")


async def test_grpcs_own_limits_for_connecting_are_set_to_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    make = grpc.aio.insecure_channel

    def insecure_channel(target: str, options: Any, *args: Any) -> grpc.aio.Channel:
        given.append(options)
        return make(target, options, *args)

    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)
    for timeouts in (Timeouts(connect=3), Timeouts(total=3)):
        await grpc_heartbeat.aio.insecure_channel("localhost:1", [("a", 1)], timeouts=timeouts).close()
    assert given == [connect_options([("a", 1)], 3), [("a", 1)]]


async def test_many_calls_share_one_look_at_the_connection() -> None:
    with dead_ends.refused() as target:
        async with opened(target, connect=LIMIT) as channel:
            calls = [ended("unary-unary", channel, b"x", wait_for_ready=True) for _ in range(50)]
            for error, facts in await asyncio.gather(*calls):
                check(error, facts, "connect", "UnaryUnary")
                assert "refused" in (facts.last_error or "")


async def test_what_the_application_knows_as_unavailable_is_not_renamed(slow: SlowServer) -> None:
    async with opened(slow.target, connect=0.001) as channel:
        await channel.channel_ready()
        assert await WAYS["unary-unary"].run(channel, b"x") == [b"x 0"]


# Header


@each_way
@each_installation
async def test_a_server_that_does_not_accept_ends_the_call(slow: SlowServer, way: str, install: str) -> None:
    async with opened(slow.target, install, header=LIMIT, total=PATIENCE) as channel:
        unseen = "interceptors" in install or (PUBLIC_API_ONLY and install == "wrapped")
        if way == "unary-unary" and unseen:  # seen with the response only
            call = WAYS[way].start(channel, [SILENT])
            assert (await asyncio.wait([asyncio.ensure_future(call.code())], timeout=2 * LIMIT))[1]
            call.cancel()
            return
        check(*await ended(way, channel, SILENT), "header", WAYS[way].kind)
    assert await asyncio.to_thread(slow.over)


async def test_acceptance_is_seen_by_public_api_too(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio_aio, "usable", lambda: False)
    async with opened(slow.target, header=LIMIT, total=PATIENCE) as channel:
        check(*await ended("unary-unary", channel, SILENT), "header", "UnaryUnary")
        assert await WAYS["unary-unary"].run(channel, PAUSE) == [b"pause 0"]
    with dead_ends.silent() as target:
        async with opened(target, header=PATIENCE, connect=LIMIT) as channel:
            check(*await ended("unary-unary", channel, b"x"), "connect", "UnaryUnary")


@each_way
async def test_a_call_that_was_accepted_may_take_its_time(slow: SlowServer, way: str) -> None:
    async with opened(slow.target, header=PAUSES, total=PATIENCE) as channel:
        assert await WAYS[way].run(channel, PAUSE)


async def test_a_header_limit_beyond_the_total_changes_nothing(slow: SlowServer) -> None:
    async with opened(slow.target, header=2 * LIMIT, total=LIMIT) as channel:
        error, facts = await ended("unary-unary", channel, SILENT)
    assert facts.layer == "total"
    assert "the total time-out of" in (error.details() or "")


# Idle


@pytest.mark.parametrize("way", READING)
@each_installation
async def test_a_stream_that_goes_quiet_ends(slow: SlowServer, way: str, install: str) -> None:
    async with opened(slow.target, install, idle=LIMIT) as channel:
        call = WAYS[way].start(channel, [STALL])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(WAYS[way].finish(call, [STALL]), PATIENCE)
        facts = timeout_of(caught.value)
        assert facts is not None
        check(caught.value, facts, "idle", WAYS[way].kind)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.to_thread(slow.over)


@pytest.mark.parametrize("way", READING)
async def test_only_waiting_for_the_peer_counts_as_idle(slow: SlowServer, way: str) -> None:
    pauses = iter([2 * LIMIT, 2 * LIMIT])

    async def slowly() -> None:
        await asyncio.sleep(next(pauses, 0))  # sleep: a consumer that is slower than the limit

    async with opened(slow.target, idle=LIMIT) as channel:
        call = WAYS[way].start(channel, [b"x"])
        assert len(await WAYS[way].finish(call, [b"x"], slowly)) == 4


@pytest.mark.parametrize("way", READING)
async def test_a_steady_stream_may_last(slow: SlowServer, way: str) -> None:
    async with opened(slow.target, idle=2 * PAUSES) as channel:
        assert len(await WAYS[way].run(channel, PAUSE)) == 4


# Write


@pytest.mark.parametrize("way", WRITING)
@each_installation
async def test_a_server_that_does_not_read_ends_the_call(slow: SlowServer, way: str, install: str) -> None:
    if LEAVES_TASKS and WAYS[way].by_hand and "interceptors" in install:
        pytest.skip("this grpcio leaves a task behind when a call with interceptors ends during write()")
    requests = [HOLD, *[BIG] * 40]
    async with opened(slow.target, install, write=LIMIT) as channel:
        call = WAYS[way].start(channel, requests)
        if WAYS[way].by_hand and install == "interceptors":
            # write() hands the message to a queue of grpcio's interceptors, and gets a bare error from there.
            with pytest.raises(asyncio.InvalidStateError):
                await asyncio.wait_for(WAYS[way].finish(call, requests), PATIENCE)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "its write time-out is" in await call.details()
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(WAYS[way].finish(call, requests), PATIENCE)
            facts = timeout_of(caught.value)
            assert facts is not None
            check(caught.value, facts, "write", WAYS[way].kind)
    assert await asyncio.to_thread(slow.over)


async def test_plain_iterators_are_watched_too(slow: SlowServer) -> None:
    async with opened(slow.target, write=LIMIT) as channel:
        method: Any = channel.stream_unary(path("StreamUnary"))
        call = method(itertools.chain([HOLD], itertools.repeat(BIG)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call, PATIENCE)
        facts = timeout_of(caught.value)
        assert facts is not None
        check(caught.value, facts, "write", "StreamUnary")


async def test_a_producer_may_take_its_time(slow: SlowServer) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(2 * LIMIT)  # sleep: a producer that is slower than the limit
        yield b"y"

    async with opened(slow.target, write=LIMIT) as channel:
        collect: Any = channel.stream_unary(path("StreamUnary"))
        assert await collect(slowly()) == b"x 1"
        call: Any = channel.stream_stream(path("StreamStream"))()
        await call.write(b"x")
        await asyncio.sleep(2 * LIMIT)  # sleep: nobody waits to write
        await call.write(b"y")
        await call.done_writing()
        assert await call.read() == b"x 1"


# All of them


@each_way
async def test_generous_limits_change_nothing(slow: SlowServer, way: str) -> None:
    limits = Timeouts(*[PATIENCE] * 5)
    channel = grpc_heartbeat.aio.insecure_channel(slow.target, timeouts=limits)
    async with channel, grpc.aio.insecure_channel(slow.target) as bare:
        ours, theirs = (WAYS[way].start(each, [b"x", b"y"]) for each in (channel, bare))
        for call in (ours, theirs):
            assert len(await WAYS[way].finish(call, [b"x", b"y"])) in (1, 4)
        assert await ours.code() is await theirs.code() is grpc.StatusCode.OK
        assert await ours.details() == await theirs.details()
        assert tuple(await ours.initial_metadata()) == tuple(await theirs.initial_metadata())
        assert tuple(await ours.trailing_metadata()) == tuple(await theirs.trailing_metadata())
        assert await ours.debug_error_string() == await theirs.debug_error_string()
        assert (ours.done(), ours.cancelled(), ours.cancel()) == (True, False, False)
        assert timeout_of(ours) is None
        assert str(ours) == str(theirs)


@each_way
async def test_limits_may_be_given_to_single_calls(slow: SlowServer, way: str) -> None:
    async with opened(slow.target) as channel:
        with grpc_heartbeat.timeouts(header=LIMIT):
            _, facts = await ended(way, channel, SILENT)
    assert (facts.layer, facts.limit, facts.source) == ("header", LIMIT, "explicit")


async def test_a_loop_that_was_blocked_hears_of_the_answer_first(slow: SlowServer) -> None:
    async with opened(slow.target, header=LIMIT, idle=LIMIT) as channel:
        await channel.channel_ready()
        for way in ("unary-unary", "unary-stream", "stream-unary"):
            call = WAYS[way].start(channel, [b"x"])
            await asyncio.sleep(0)
            threading.Event().wait(2 * LIMIT)
            assert await WAYS[way].finish(call, [b"x"])


async def test_a_deadline_that_grpc_ends_is_told_in_words_however_late_one_looks(slow: SlowServer) -> None:
    async with opened(slow.target, total=LIMIT) as channel:
        call = WAYS["unary-unary"].start(channel, [SILENT])
        done = asyncio.Event()
        call.add_done_callback(lambda _: done.set())
        await asyncio.wait_for(done.wait(), PATIENCE)
        await asyncio.sleep(LIMIT)  # sleep: look late
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        facts = timeout_of(caught.value)
        assert facts is not None
        assert (facts.layer, facts.limit, facts.source) == ("total", LIMIT, "policy:default")
        assert facts.elapsed == LIMIT
        assert await call.details() == caught.value.details()
        assert timeout_of(call) == facts


async def test_what_the_server_ended_before_the_deadline_is_believed_however_late_one_looks(slow: SlowServer) -> None:
    def cancel(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.CANCELLED, "not today")
        return b""

    server = SyncServer({"UnaryUnary": cancel})
    try:
        async with opened(server.target, total=LIMIT) as channel:
            call = WAYS["unary-unary"].start(channel, [b"x"])
            await asyncio.sleep(2 * LIMIT)  # sleep: look after the deadline
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is await call.code() is grpc.StatusCode.CANCELLED
            assert caught.value.details() == "not today"
    finally:
        await asyncio.to_thread(server.close)


async def test_requests_may_be_any_kind_of_iterable(slow: SlowServer) -> None:
    async with opened(slow.target, write=PATIENCE) as channel:
        method: Any = channel.stream_unary(path("StreamUnary"))
        for requests in ([b"x", b"y"], iter([b"x", b"y"]), asynchronously([b"x", b"y"])):
            assert await method(requests) == b"x 1"
