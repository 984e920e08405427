"""The call objects of the asyncio channel: grpcio's semantics of awaiting, cancelling and dropping, whatever limits a call has.

``header`` makes a unary-unary call in another way than the other limits do, and by public API in yet another, so what is tested
with one limit is tested with these, too.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, _abandoned, _faults, _grpcio_aio
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.channel import flight_aio, told_aio
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import AioEndedCall, AioFailedWrite, timeout_of
from tests.chain.hops import AioNoop
from tests.channel.servers import FAIL, Server
from tests.channel.slow import BIG, HOLD, NOTHING, PAUSE, SILENT, STALL, SlowServer
from tests.channel.test_layers_aio import INSTALLATIONS
from tests.channel.ways_aio import READING, WAYS, WRITING
from tests.peers import PATIENCE, path

LIMIT = 0.2
PUBLIC = "header by public api"
LIMITED = {
    "total": Timeouts(total=PATIENCE),
    "idle": Timeouts(idle=PATIENCE),
    "header": Timeouts(header=PATIENCE),
    PUBLIC: Timeouts(header=PATIENCE),
}

each_way = pytest.mark.parametrize("way", WAYS)
each_limit = pytest.mark.parametrize("limit", LIMITED)


@pytest.fixture(autouse=True)
def public_api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("limit") == PUBLIC:
        monkeypatch.setattr(_grpcio_aio, "usable", lambda: False)


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.close()


@asynccontextmanager
async def opened(target: str, timeouts: Timeouts | None = None, **kwargs: Any) -> AsyncIterator[Any]:
    channel = grpc_heartbeat.aio.insecure_channel(target, timeouts=timeouts, **kwargs)
    try:
        yield channel
    finally:
        await channel.close()


async def happens(event: Any) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


def scoped(start: Callable[[], Any], scope: Scope) -> Any:
    """Return the call that ``start`` makes in ``scope``."""
    token = current_scope.set(scope)
    try:
        return start()
    finally:
        current_scope.reset(token)


# Awaiting


@each_limit
async def test_a_response_may_be_awaited_by_several_and_again(slow: SlowServer, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        for way in ("unary-unary", "stream-unary"):
            call = WAYS[way].start(channel, [PAUSE])
            first = asyncio.ensure_future(_await(call))
            await asyncio.sleep(0)
            responses = await asyncio.wait_for(asyncio.gather(first, _await(call), _await(call)), PATIENCE)
            assert list(responses) == [b"pause 0"] * 3
            assert await call == b"pause 0"
            assert (call.done(), call.cancel()) == (True, False)


async def _await(call: Any) -> Any:
    return await call


@each_limit
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
async def test_an_error_may_be_awaited_again(server: Server, limit: str, kind: str) -> None:
    way = next(way for way in WAYS.values() if way.kind == kind)
    async with opened(server.target, LIMITED[limit]) as channel:
        call = way.start(channel, [FAIL])
        results = await asyncio.gather(_await(call), _await(call), return_exceptions=True)
        again = await asyncio.gather(_await(call), return_exceptions=True)
        for error in (*results, *again):
            assert isinstance(error, grpc.aio.AioRpcError)
            assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "you asked for it")
            assert ("why", "asked") in tuple(error.trailing_metadata() or ())
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert ("why", "asked") in tuple(await call.trailing_metadata())


@each_limit
@pytest.mark.parametrize("kind", ["UnaryUnary", "StreamUnary"])
async def test_a_call_that_nobody_awaits_goes_on_and_tells_when_it_is_done(
    server: Server, limit: str, kind: str
) -> None:
    way = next(way for way in WAYS.values() if way.kind == kind)
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with opened(server.target, LIMITED[limit]) as channel:
        call = way.start(channel, [b"hello"])
        call.add_done_callback(done.set_result)
        assert await asyncio.wait_for(done, PATIENCE) is call
        assert call.done()
        assert await call == b"hello"


@each_limit
@pytest.mark.parametrize("deserializer", [None, bytes.decode])
async def test_ok_without_a_message_is_none(slow: SlowServer, limit: str, deserializer: Any) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        method = channel.unary_unary(
            path("UnaryStream"), None, deserializer
        )  # a unary method may not do so, a stream may
        assert await method(NOTHING) is None


@each_limit
async def test_a_second_message_is_waited_out_as_grpcio_does(slow: SlowServer, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path("UnaryStream"))(b"x", timeout=LIMIT)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@each_limit
async def test_waiting_for_the_connection_is_grpcios(server: Server, slow: SlowServer, limit: str) -> None:
    async with opened(server.target, LIMITED[limit]) as channel:
        for way in WAYS.values():
            call = way.start(channel, [b"hello"])
            await asyncio.wait_for(call.wait_for_connection(), PATIENCE)
            assert await way.finish(call, [b"hello"])
        with pytest.raises(grpc.aio.AioRpcError, match="you asked for it"):
            await channel.unary_unary(path("UnaryUnary"))(FAIL).wait_for_connection()


@each_limit
async def test_messages_are_transformed_as_ever(server: Server, limit: str) -> None:
    async with opened(server.target, LIMITED[limit]) as channel:
        method = channel.unary_unary(path("UnaryUnary"), str.encode, bytes.decode)
        assert await method("hello") == "hello"


# Cancelling


@each_way
@each_limit
async def test_cancel_is_the_applications(slow: SlowServer, way: str, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        call = WAYS[way].start(channel, [SILENT])
        finishing = asyncio.ensure_future(WAYS[way].finish(call, [SILENT]))
        await happens(slow.started)
        assert call.cancel()
        assert (call.cancelled(), call.cancel(), call.done()) == (True, False, True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(finishing, PATIENCE)
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert await call.details() == "Locally cancelled by application!"
        assert timeout_of(call) is None
    await happens(slow.ended)


@each_way
@each_limit
async def test_a_cancelled_task_cancels_its_call(slow: SlowServer, way: str, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        call = WAYS[way].start(channel, [SILENT])
        task = asyncio.ensure_future(WAYS[way].finish(call, [SILENT]))
        await happens(slow.started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert call.cancelled()
    await happens(slow.ended)


@each_limit
async def test_a_waiter_that_is_cancelled_cancels_the_call_of_all(slow: SlowServer, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        call = WAYS["unary-unary"].start(channel, [SILENT])
        tasks = [asyncio.ensure_future(_await(call)) for _ in range(3)]
        await happens(slow.started)
        tasks[1].cancel()
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
    await happens(slow.ended)


@each_way
@each_limit
async def test_wait_for_times_out_as_ever(slow: SlowServer, way: str, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        call = WAYS[way].start(channel, [SILENT])
        finishing = asyncio.ensure_future(WAYS[way].finish(call, [SILENT]))
        await happens(slow.started)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(finishing, LIMIT)
        assert call.cancelled()
    await happens(slow.ended)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not count requests to cancel")
@each_way
async def test_our_end_is_told_in_a_task_that_has_been_cancelled_before(slow: SlowServer, way: str) -> None:
    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await WAYS[way].run(channel, SILENT)

    async with opened(slow.target, Timeouts(header=LIMIT)) as channel:
        task = asyncio.ensure_future(clean_up())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(AioEndedCall, match="was not accepted"):
            await asyncio.wait_for(task, PATIENCE)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not count requests to cancel")
@each_way
async def test_a_task_that_is_cancelled_as_its_call_ends_is_cancelled(slow: SlowServer, way: str) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    async with opened(slow.target) as channel:
        call = scoped(lambda: WAYS[way].start(channel, [HOLD]), scope)
        task = asyncio.ensure_future(WAYS[way].finish(call, [HOLD]))
        await happens(slow.started)
        scope.cancel(Reason.CLIENT_CANCELLED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await call.code() is grpc.StatusCode.CANCELLED


@each_way
@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.CLIENT_CANCELLED])
async def test_an_end_by_the_scope_is_an_error_and_not_a_cancelled_task(
    slow: SlowServer, way: str, reason: Reason
) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    async with opened(slow.target, Timeouts(header=PATIENCE)) as channel:
        call = scoped(lambda: WAYS[way].start(channel, [HOLD]), scope)
        task = asyncio.ensure_future(WAYS[way].finish(call, [HOLD]))
        await happens(slow.started)
        await asyncio.to_thread(scope.cancel, reason)
        with pytest.raises(AioEndedCall) as caught:
            await asyncio.wait_for(task, PATIENCE)
        expected = "DEADLINE_EXCEEDED" if reason is Reason.EXPIRED else "CANCELLED"
        facts = timeout_of(caught.value)
        assert facts is not None
        assert caught.value.code().name == (await call.code()).name == expected
        assert (facts.layer, facts.source) == ("scope", "inherited:/a/b")
        assert "the inbound RPC /a/b" in await call.details()
        assert await call.debug_error_string() == await call.details()
        assert call.cancelled() is (reason is Reason.CLIENT_CANCELLED)
        assert timeout_of(call) == facts
        assert not scope.members
    await happens(slow.ended)


async def test_a_writer_that_waits_for_a_connection_is_woken() -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    async with opened("dns:///no-such-host.invalid:1") as channel:
        call = scoped(lambda: channel.stream_stream(path("StreamStream"))(wait_for_ready=True), scope)
        writing = asyncio.ensure_future(call.write(b"x"))
        connecting = asyncio.ensure_future(call.wait_for_connection())
        await asyncio.sleep(LIMIT)  # sleep: let them wait
        scope.cancel(Reason.EXPIRED)
        for waiting in (writing, connecting):
            with pytest.raises(AioEndedCall):
                await asyncio.wait_for(waiting, PATIENCE)


# Writing


@pytest.mark.parametrize("way", [name for name, way in WRITING.items() if way.by_hand])
@pytest.mark.parametrize("install", ["channel", "with interceptors", "wrapped"])
async def test_writing_to_a_call_that_has_failed_says_what_it_failed_with(
    server: Server, way: str, install: str
) -> None:
    async with INSTALLATIONS[install](server.target, timeouts=Timeouts(total=PATIENCE)) as channel:
        call = WAYS[way].start(channel, [])
        await call.write(FAIL)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(AioFailedWrite, match="you asked for it") as caught:
            await call.write(b"more")
        assert isinstance(caught.value, asyncio.InvalidStateError)
        assert timeout_of(caught.value) is None


async def test_what_a_failed_write_has_seen_is_read_by_the_application_too(server: Server) -> None:
    async with INSTALLATIONS["with interceptors"](server.target, timeouts=Timeouts(total=PATIENCE)) as channel:
        call: Any = channel.stream_stream(path("StreamStream"))()
        await call.write(FAIL)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        for _ in range(2):
            with pytest.raises(AioFailedWrite):
                await call.write(b"more")
        with pytest.raises(grpc.aio.AioRpcError, match="you asked for it") as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert await call.read() is grpc.aio.EOF  # as in grpcio


@pytest.mark.parametrize("way", [name for name, way in WRITING.items() if way.by_hand])
@pytest.mark.parametrize("install", ["channel", "with interceptors", "wrapped"])
async def test_writing_to_a_call_that_a_limit_ended_has_the_facts(slow: SlowServer, way: str, install: str) -> None:
    async with INSTALLATIONS[install](slow.target, timeouts=Timeouts(header=LIMIT)) as channel:
        call = WAYS[way].start(channel, [])
        await call.write(SILENT)
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(AioFailedWrite, match="its header time-out is") as caught:
            await call.write(b"more")
        facts = timeout_of(caught.value)
        assert facts is not None
        assert facts.layer == "header"


async def test_writing_after_a_good_end_or_a_half_close_is_grpcios_error(server: Server) -> None:
    async with opened(server.target) as channel:
        call = channel.stream_stream(path("StreamStream"))()
        await call.write(b"x")
        await call.done_writing()
        with pytest.raises(asyncio.InvalidStateError, match="half closed") as caught:
            await call.write(b"more")
        assert not isinstance(caught.value, grpc.RpcError)
        while await call.read() is not grpc.aio.EOF:
            pass
        with pytest.raises(asyncio.InvalidStateError) as caught:
            await call.write(b"more")
        assert not isinstance(caught.value, grpc.RpcError)


async def test_styles_may_not_be_mixed(server: Server) -> None:
    async with opened(server.target) as channel:
        call = channel.unary_stream(path("UnaryStream"))(b"x")
        assert await call.read() == b"x"
        with pytest.raises(grpc.aio.UsageError):
            aiter(call)


# Dropping


@pytest.mark.parametrize("way", READING)
@pytest.mark.parametrize("install", ["channel", "with interceptors", "wrapped"])
async def test_a_stream_that_is_broken_off_is_cancelled(slow: SlowServer, way: str, install: str) -> None:
    async with INSTALLATIONS[install](slow.target, timeouts=Timeouts()) as channel:
        call = WAYS[way].start(channel, [STALL])
        if WAYS[way].by_hand:
            if WAYS[way].kind == "StreamStream":
                await call.write(STALL)
                await call.done_writing()
            assert await call.read() == b"stall 0"
        else:
            async for response in call:
                assert response == b"stall 0"
                break
        del call
        await happens(slow.ended)


@pytest.mark.parametrize("way", READING)
async def test_a_done_callback_does_not_keep_a_dropped_stream_alive(slow: SlowServer, way: str) -> None:
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with opened(slow.target) as channel:
        call = WAYS[way].start(channel, [STALL])
        call.add_done_callback(done.set_result)
        if WAYS[way].by_hand and WAYS[way].kind == "StreamStream":
            await call.write(STALL)
        await happens(slow.started)
        del call
        await happens(slow.ended)
        told = await asyncio.wait_for(done, PATIENCE)
        assert await told.code() is grpc.StatusCode.CANCELLED


@each_limit
async def test_a_response_that_nobody_waits_for_is_no_reason_to_cancel(slow: SlowServer, limit: str) -> None:
    async with opened(slow.target, LIMITED[limit]) as channel:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = WAYS["unary-unary"].start(channel, [PAUSE])
        call.add_done_callback(done.set_result)
        del call
        gc.collect()
        told = await asyncio.wait_for(done, PATIENCE)
        assert await told.code() is grpc.StatusCode.OK


async def test_a_dropped_response_still_ends_with_its_scope_and_is_forgotten_when_done(slow: SlowServer) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    async with opened(slow.target) as channel:
        scoped(lambda: WAYS["unary-unary"].start(channel, [b"x"]), scope)
        gc.collect()
        for _ in range(1000):
            if not scope.members:
                break
            await asyncio.sleep(0.01)  # sleep: nothing tells when a call that was dropped is done
        assert not scope.members
        slow.started.clear()
        scoped(lambda: WAYS["unary-unary"].start(channel, [SILENT]), scope)
        gc.collect()
        await happens(slow.started)
        scope.cancel(Reason.CLIENT_CANCELLED)
        await happens(slow.ended)


@each_limit
async def test_a_dropped_response_still_ends_with_its_limit(slow: SlowServer, limit: str) -> None:
    async with opened(slow.target, Timeouts(total=LIMIT) if limit == "total" else Timeouts(header=LIMIT)) as channel:
        WAYS["unary-unary"].start(channel, [SILENT])
        await happens(slow.started)
        assert await asyncio.to_thread(slow.over)


async def test_who_made_an_abandoned_call_is_said_once_when_asked_for(slow: SlowServer) -> None:
    _abandoned.switch(True)
    try:
        async with opened(slow.target) as channel:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(2):
                    slow.ended.clear()
                    async for _ in channel.unary_stream(path("UnaryStream"))(STALL):
                        break
                    await happens(slow.ended)
        assert [warning.filename for warning in caught] == [__file__]
        assert path("UnaryStream") in str(caught[0].message)
    finally:
        _abandoned.switch(False)


async def test_a_stream_that_was_read_to_its_end_is_not_abandoned(server: Server) -> None:
    _abandoned.switch(True)
    try:
        async with opened(server.target) as channel:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for way in READING.values():
                    await way.run(channel, b"x")
                gc.collect()
        assert not caught
    finally:
        _abandoned.switch(False)


def test_a_call_that_outlives_its_loop_is_let_go_quietly(slow: SlowServer) -> None:
    async def leave_one() -> Any:
        channel = grpc_heartbeat.aio.insecure_channel(slow.target)
        call: Any = channel.unary_stream(path("UnaryStream"))(STALL)
        assert await call.read() == b"stall 0"
        await channel.close()
        return call

    call = asyncio.run(leave_one())
    del call
    gc.collect()


# Ourselves


@each_way
@pytest.mark.internal_faults
async def test_a_fault_of_ours_leaves_the_call_to_grpcio(
    server: Server, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(flight_aio.Flight, "begin", fail)
    before = _faults.counts().get("channel.begin_aio", 0)
    async with opened(server.target, Timeouts(connect=PATIENCE, idle=PATIENCE)) as channel:
        assert await WAYS[way].run(channel, b"hello")
    assert _faults.counts()["channel.begin_aio"] == before + 1


@each_way
@pytest.mark.internal_faults
async def test_a_fault_in_telling_leaves_the_error_to_grpcio(
    server: Server, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(told_aio, "ended_by_grpc", fail)
    async with opened(server.target, Timeouts(connect=PATIENCE, total=PATIENCE)) as channel:
        call = WAYS[way].start(channel, [FAIL])
        with pytest.raises(grpc.aio.AioRpcError, match="you asked for it"):
            await WAYS[way].finish(call, [FAIL])
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_errors_survive_pickling(slow: SlowServer) -> None:
    async with opened(slow.target, Timeouts(header=LIMIT)) as channel:
        call = channel.stream_stream(path("StreamStream"))()
        await call.write(SILENT)
        errors: list[Any] = []
        for attempt in (call.read, lambda: call.write(b"more")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await attempt()
            errors.append(caught.value)
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (again.code(), again.details(), again.timeout) == (error.code(), error.details(), timeout_of(error))
        assert str(again) == str(error)


async def test_big_messages_pass(slow: SlowServer) -> None:
    async with opened(slow.target, Timeouts(header=PATIENCE, write=PATIENCE, idle=PATIENCE)) as channel:
        for way in WRITING.values():
            assert (await way.run(channel, b"x", *[BIG] * 8))[0] == b"x 8"


async def test_to_look_at_a_call_does_not_disturb_those_who_wait_for_its_interceptors(server: Server) -> None:
    class Slow(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            await asyncio.sleep(LIMIT)  # sleep: an interceptor that takes longer than several looks
            return await continuation(client_call_details, request)

    inner = grpc.aio.insecure_channel(server.target, interceptors=[Slow()])
    limits = Timeouts(header=PATIENCE, idle=LIMIT / 8)
    async with grpc_heartbeat.aio.wrap_channel(inner, timeouts=limits) as channel:
        await channel.channel_ready()
        call: Any = channel.unary_stream(path("UnaryStream"))(b"x")
        await asyncio.sleep(LIMIT / 2)  # sleep: let the timer look
        assert await call.initial_metadata() is not None
        call.cancel()


async def test_user_interceptors_see_a_unary_call_as_unary(server: Server) -> None:
    seen: list[str] = []

    class Sees(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            seen.append("unary")
            return await continuation(client_call_details, request)

    limits = Timeouts(header=PATIENCE)
    inner = grpc.aio.insecure_channel(server.target, interceptors=[Sees()])
    async with grpc_heartbeat.aio.wrap_channel(inner, timeouts=limits) as channel:
        assert await WAYS["unary-unary"].run(channel, b"x") == [b"x"]
    async with opened(server.target, limits, interceptors=[Sees(), AioNoop()]) as channel:
        assert await WAYS["unary-unary"].run(channel, b"x") == [b"x"]
    assert seen == ["unary", "unary"]
