"""The asyncio channel and client interceptors: grpcio's semantics for what is not ours, exact ends for what is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.errors import timeout_of
from tests.chain.hops import AIO_STYLES, stubs
from tests.channel.servers import FAIL, HOLD, Server
from tests.peers import KINDS, PATIENCE, path

each_style = pytest.mark.parametrize("style", AIO_STYLES)
each_kind = pytest.mark.parametrize("kind", KINDS)


@asynccontextmanager
async def opened(style: str, target: str) -> AsyncIterator[grpc.aio.Channel]:
    channel = AIO_STYLES[style](target)
    try:
        yield channel
    finally:
        await channel.close()


def begin(channel: grpc.aio.Channel, kind: str, request: bytes, **kwargs: Any) -> Any:
    multicallable = dict(zip(KINDS, stubs(channel), strict=True))[kind]
    return multicallable(iter([request]) if kind.startswith("Stream") else request, **kwargs)


async def finish(call: Any, kind: str) -> list[bytes]:
    return [await call] if kind.endswith("Unary") else [response async for response in call]


async def wait(event: Any) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


@each_style
@each_kind
@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_call_with_no_time_left_ends_locally(server: Server, style: str, kind: str, timeout: float) -> None:
    async with opened(style, server.target) as channel:
        call = begin(channel, kind, b"hello", timeout=timeout)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await finish(call, kind)
        assert caught.value.code() is await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert f"{path(kind)} was not sent" in (caught.value.details() or "")
        assert call.done()
        facts = timeout_of(caught.value)
        assert facts is not None
        assert facts.source == "explicit"
    assert server.calls == 0


@each_style
@each_kind
async def test_every_entry_of_the_metadata_multimap_arrives(server: Server, style: str, kind: str) -> None:
    sent = (("x", "1"), ("x", "2"), ("data-bin", b"\x00\x01"))
    async with opened(style, server.target) as channel:
        for metadata in (sent, grpc.aio.Metadata(*sent)):
            with deadline.limit(5):
                await finish(begin(channel, kind, b"hello", metadata=metadata), kind)
    for arrived in server.metadata:
        assert [entry for entry in arrived if entry[0] in ("x", "data-bin")] == list(sent)
        assert [key for key, _ in arrived].count(BUDGET_KEY) == 1


@each_style
@each_kind
async def test_an_inherited_deadline_shortens_but_never_extends(server: Server, style: str, kind: str) -> None:
    async with opened(style, server.target) as channel:
        with deadline.limit(5):
            for timeout in (None, 2, 100):
                await finish(begin(channel, kind, b"hello", timeout=timeout), kind)
    inherited, explicit, capped = server.remaining
    assert inherited <= 5.1
    assert explicit <= 2.1
    assert capped <= 5.1


@each_style
@each_kind
async def test_the_servers_own_error_arrives_untouched(server: Server, style: str, kind: str) -> None:
    async with opened(style, server.target) as channel:
        with deadline.limit(5):
            call = begin(channel, kind, FAIL)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await finish(call, kind)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "you asked for it"
    assert ("why", "asked") in tuple(caught.value.trailing_metadata() or ())


@each_style
@each_kind
async def test_cancelling_the_scope_ends_calls_nobody_awaits(server: Server, style: str, kind: str) -> None:
    async with opened(style, server.target) as channel:
        scope = Scope(None, "inherited:/a/b", "/a/b")
        token = current_scope.set(scope)
        call = begin(channel, kind, HOLD)
        current_scope.reset(token)
        await wait(server.started)
        scope.cancel(Reason.CLIENT_CANCELLED)
        await wait(server.ended)
        assert await call.code() is grpc.StatusCode.CANCELLED
        await asyncio.gather(finish(call, kind), return_exceptions=True)
        assert len(scope.members) == 0


@each_kind
async def test_a_scope_may_be_cancelled_from_another_thread(server: Server, kind: str) -> None:
    async with opened("channel", server.target) as channel:
        scope = Scope(None, "inherited:/a/b", "/a/b")
        token = current_scope.set(scope)
        call = begin(channel, kind, HOLD)
        current_scope.reset(token)
        await wait(server.started)
        await asyncio.to_thread(scope.cancel, Reason.EXPIRED)
        await wait(server.ended)
        await asyncio.gather(finish(call, kind), return_exceptions=True)


@each_style
@each_kind
async def test_calls_are_forgotten_when_they_are_done(server: Server, style: str, kind: str) -> None:
    async with opened(style, server.target) as channel:
        scope = Scope(None, "inherited:/a/b", "/a/b")
        token = current_scope.set(scope)
        await finish(begin(channel, kind, b"hello"), kind)
        current_scope.reset(token)
        for _ in range(100):
            if len(scope.members) == 0:
                break
            await asyncio.sleep(0)
        assert len(scope.members) == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("Unary")])
async def test_with_no_limit_and_no_scope_the_call_object_is_grpcios_own(server: Server, kind: str) -> None:
    async with opened("channel", server.target) as channel, grpc.aio.insecure_channel(server.target) as bare:
        ours, theirs = begin(channel, kind, b"hello"), begin(bare, kind, b"hello")
        assert type(ours) is type(theirs)
        assert await finish(ours, kind) == await finish(theirs, kind)


@each_kind
async def test_a_limited_call_is_one_of_grpcios_public_classes(server: Server, kind: str) -> None:
    async with opened("channel", server.target) as channel:
        with deadline.limit(5):
            call = begin(channel, kind, b"hello")
        assert isinstance(call, getattr(grpc.aio, f"{kind}Call"))
        await finish(call, kind)


async def test_the_policys_total_applies_to_unary_responses_only(server: Server) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target, timeouts=Timeouts(total=5)) as channel:
        for kind in KINDS:
            await finish(begin(channel, kind, b"hello"), kind)
    one, many, collect, chat = server.remaining
    assert max(one, collect) <= 5.1
    assert min(many, chat) > 1e9


@each_kind
async def test_an_ended_call_can_be_used_in_every_way(server: Server, kind: str) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target) as channel:
        call = begin(channel, kind, b"hello", timeout=0)
        told: list[Any] = []
        call.add_done_callback(told.append)
        assert told == [call]
        assert (call.cancel(), call.cancelled(), call.time_remaining()) == (False, False, 0.0)
        assert await call.initial_metadata() == await call.trailing_metadata() == grpc.aio.Metadata()
        assert "was not sent" in await call.details()
        attempts = [call.wait_for_connection()]
        if kind.startswith("Stream"):
            attempts.append(call.write(b"more"))
            await call.done_writing()
        if kind.endswith("Stream"):
            attempts.append(call.read())
        for attempt in attempts:
            with pytest.raises(grpc.aio.AioRpcError):
                await attempt


@each_style
async def test_a_methods_name_may_be_bytes_as_for_grpcio(server: Server, style: str) -> None:
    async with opened(style, server.target) as channel:
        method: Any = channel.unary_unary(path("UnaryUnary").encode())  # type: ignore[arg-type]  # as grpcio takes it
        assert await method(b"hello") == b"hello"


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
async def test_requests_that_cannot_be_iterated_over_are_no_fault_of_ours(server: Server, kind: str) -> None:
    channel = grpc_heartbeat.aio.insecure_channel(server.target, timeouts=Timeouts(write=PATIENCE))
    call = getattr(channel, kind)(path("StreamUnary"))(5)
    assert await call.code() is grpc.StatusCode.CANCELLED
    await channel.close()


async def test_connectivity_is_the_inner_channels(server: Server) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target) as channel:
        assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
        await channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE)
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
