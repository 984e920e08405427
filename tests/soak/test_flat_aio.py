"""Calls of the asyncio stack that are done, cancelled, expired or abandoned leave nothing behind, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests import leaks
from tests.conformance.peers import Server
from tests.soak.flat import check_flat, held, objects_left
from tests.soak.scale import scaled

CALLS = scaled(100_000, 3_600)
TIMEOUTS = Timeouts(connect=0.5, header=0.5, idle=0.5, write=0.5)


class Client:
    """Makes calls that end in each of the ways."""

    def __init__(self, channel: Any) -> None:
        self.quick = channel.unary_unary("/any.Quick/UnaryUnary")
        self.hold = channel.unary_unary("/any.Hold/UnaryUnary")
        self.stall = channel.unary_stream("/any.Stall/UnaryStream")
        self.chat = channel.stream_stream("/any.Quick/StreamStream")

    async def run(self, calls: int) -> None:
        ways = (self.done, self.streamed, self.cancelled, self.scope_cancelled, self.expired, self.abandoned)
        for number in range(calls):
            await ways[number % len(ways)]()
        await leaks.end_of_tasks()

    async def done(self) -> None:
        with deadline.limit(5):
            assert await self.quick(b"x") == b"1"

    async def streamed(self) -> None:
        call = self.chat()
        await call.write(b"x")
        await call.done_writing()
        assert [response async for response in call] == [b"1"] * 4

    async def cancelled(self) -> None:
        call = self.hold(b"x")
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def scope_cancelled(self) -> None:
        scope = Scope(None, "inherited:/front.End/Buy", "/front.End/Buy")
        token = current_scope.set(scope)
        call = self.stall(b"x")
        current_scope.reset(token)
        assert await call.read() == b"first"
        scope.cancel(Reason.CLIENT_CANCELLED)
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()

    async def expired(self) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await self.hold(b"x", timeout=0.002)

    async def abandoned(self) -> None:
        async for response in self.stall(b"x"):
            assert response == b"first"
            break


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_calls_leave_nothing_behind(server: Server) -> None:
    async with grpc_heartbeat.aio.insecure_channel(server.target, timeouts=TIMEOUTS) as channel:
        client = Client(channel)
        await client.run(CALLS // 2)  # until then caches and the allocator's pools fill
        assert TIMEOUTS.header is not None
        await asyncio.sleep(TIMEOUTS.header)  # sleep: what the timer queue still holds goes with its time
        first, started = held(), monotonic()
        await client.run(CALLS // 2)
        seconds = monotonic() - started
        for _ in range(50):
            if not objects_left(first):
                break
            await asyncio.sleep(0.1)  # sleep: as above
        check_flat(first, CALLS // 2, seconds)
