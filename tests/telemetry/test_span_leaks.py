"""Every span ends once, however its call ends: done, failed, cancelled, expired, dropped, collected, called off with its task.

``GRPC_HEARTBEAT_SOAK=full`` makes 100,000 calls of each stack and each kind of channel instead of some hundreds.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.trace import SpanKind

import grpc_heartbeat
from grpc_heartbeat import telemetry
from tests.channel.ways import SINGLE_THREADED
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer, path, wait_until
from tests.soak.scale import FULL, scaled
from tests.telemetry.tally import Tally
from tests.telemetry.traced import aio_traced, traced

AT_ONCE = scaled(40, 3)
"""Calls of one way that the sync stack makes before it goes on to the next."""
TOGETHER = scaled(8, 3)
"""Calls of each way that the asyncio stack makes at the same time."""
ENOUGH = scaled(100_000, 300)
"""Calls in all, at least."""
SHORT = 0.05

OK, CANCELLED, EXPIRED, MISSING = 0, 1, 4, 5
EITHER = -1
"""CANCELLED or EXPIRED."""
OURS = pytest.mark.parametrize("ours", [True, False], ids=["our channel", "plain channel"])
HOW = pytest.mark.parametrize("how", ["interceptors", "channel"])

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 60)]


@pytest.fixture
def tally() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    tally.close()


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


def _behave(request: bytes, context: Any) -> bytes:
    """Answer, fail, or hold until nobody waits any more, as the request says."""
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "none")
    if request == b"hold":
        over = threading.Event()
        if context.add_callback(over.set):
            over.wait(PATIENCE)
    return b""


def _stream(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"first"
    yield _behave(request, context)


async def _behave_aio(request: bytes, context: Any) -> bytes:
    if request == b"fail":
        await context.abort(grpc.StatusCode.NOT_FOUND, "none")
    if request == b"hold":
        await asyncio.Event().wait()
    return b""


async def _stream_aio(request: bytes, context: Any) -> Any:
    yield b"first"
    yield await _behave_aio(request, context)


def check(tally: Tally, made: dict[int, int]) -> None:
    """Wait until every span has ended; each call that was made has one on the client's side, with the status it should have."""

    def done() -> bool:
        gc.collect()
        return not tally.open

    wait_until(done, 30)
    found = tally.of(SpanKind.CLIENT)
    either = made.pop(EITHER, 0)
    assert sum(found.values()) == sum(made.values()) + either >= ENOUGH
    more = {status: found[status] - count for status, count in made.items()}
    assert (more[OK], more[MISSING], more[CANCELLED] + more[EXPIRED]) == (0, 0, either)
    assert min(more.values()) >= 0, (found, made)
    assert set(tally.of(SpanKind.SERVER)) <= {OK, CANCELLED, EXPIRED, MISSING}
    assert sum(tally.of(SpanKind.SERVER).values()) > ENOUGH / 3
    assert tally.again == []


def _lose(call: Any) -> None:
    """Leave ``call`` to the garbage collector: what refers to it refers to itself."""
    holder: list[Any] = [call]
    holder.append(holder)


class SyncWays:
    """The ways in which calls end; each makes ``AT_ONCE`` of them."""

    def __init__(self, channel: Any, single_threaded: Any) -> None:
        self.call = channel.unary_unary(path("UnaryUnary"))
        self.streams = channel.unary_stream(path("UnaryStream"))
        self.single = single_threaded.unary_stream(path("UnaryStream"))
        self.pool = ThreadPoolExecutor(AT_ONCE)
        self.all: dict[Callable[[], None], int] = {
            self.done: OK,
            self.failed: MISSING,
            self.expired: EXPIRED,
            self.expired_blocking: EXPIRED,
            self.cancelled: CANCELLED,
            self.dropped: CANCELLED,
            self.collected: CANCELLED,
            self.read_to_the_end: OK,
            self.dropped_unread: CANCELLED,
            self.cancelled_streams: CANCELLED,
            self.dropped_streams: CANCELLED,
        }

    def done(self) -> None:
        for _ in range(AT_ONCE):
            assert self.call.future(b"answer", timeout=PATIENCE).result() == b""

    def failed(self) -> None:
        for _ in range(AT_ONCE):
            with pytest.raises(grpc.RpcError):
                self.call(b"fail", timeout=PATIENCE)

    def expired(self) -> None:
        calls = [self.call.future(b"hold", timeout=SHORT) for _ in range(AT_ONCE)]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}

    def expired_blocking(self) -> None:
        def one(_: int) -> None:
            with pytest.raises(grpc.RpcError):
                self.call(b"hold", timeout=SHORT)

        list(self.pool.map(one, range(AT_ONCE)))

    def cancelled(self) -> None:
        for _ in range(AT_ONCE):
            self.call.future(b"hold", timeout=PATIENCE).cancel()

    def dropped(self) -> None:
        for _ in range(AT_ONCE):
            self.call.future(b"hold", timeout=PATIENCE)

    def collected(self) -> None:
        """Nobody but the garbage collector finds these."""
        for _ in range(AT_ONCE):
            _lose(self.call.future(b"hold", timeout=PATIENCE))
        gc.collect()

    def read_to_the_end(self) -> None:
        for number in range(AT_ONCE):
            kind = self.streams if number % 2 else self.single
            assert list(kind(b"answer", timeout=PATIENCE)) == [b"first", b""]

    def dropped_unread(self) -> None:
        for number in range(AT_ONCE):
            (self.streams if number % 2 else self.single)(b"hold", timeout=PATIENCE)

    def cancelled_streams(self) -> None:
        for number in range(AT_ONCE):
            responses = (self.streams if number % 2 else self.single)(b"hold", timeout=PATIENCE)
            assert next(responses) == b"first"
            responses.cancel()

    def dropped_streams(self) -> None:
        for number in range(AT_ONCE):
            for response in (self.streams if number % 2 else self.single)(b"hold", timeout=PATIENCE):
                assert response == b"first"
                break


@OURS
@HOW
def test_sync_calls_leave_no_span_open(ours: bool, how: str, tally: Tally) -> None:
    interceptors: list[Any] = [
        *telemetry.server_interceptors(tracer_provider=tally.provider),
        *grpc_heartbeat.server_interceptors(),
    ]
    server = SyncServer({"UnaryUnary": _behave, "UnaryStream": _stream}, interceptors, workers=3 * AT_ONCE)
    make: Any = grpc_heartbeat.insecure_channel if ours else grpc.insecure_channel
    made: Counter[int] = Counter()
    with make(server.target) as plain, make(server.target, SINGLE_THREADED) as single:
        ways = SyncWays(*(traced(each, how, tally) for each in (plain, single)))
        with ways.pool:
            while made.total() < ENOUGH:
                for way, status in ways.all.items():
                    way()
                    made[status] += AT_ONCE
            check(tally, made)
    server.close()


class AioWays:
    """The ways in which calls end; each makes one.

    Args:
        dropped: How streams end that are dropped. Those of grpc.aio's own channels go on to their deadlines, from 1.83 on.
    """

    def __init__(self, channel: Any, dropped: int) -> None:
        self.call = channel.unary_unary(path("UnaryUnary"))
        self.streams = channel.unary_stream(path("UnaryStream"))
        self.limit = PATIENCE if dropped is CANCELLED else 3.0
        self.all: dict[Callable[[], Any], int] = {
            self.done: OK,
            self.failed: MISSING,
            self.expired: EXPIRED,
            self.cancelled: CANCELLED,
            self.called_off: EITHER,
            self.read_to_the_end: OK,
            self.cancelled_stream: CANCELLED,
            self.expired_stream: EXPIRED,
            self.dropped_stream: dropped,
            self.left_stream: dropped,
            self.collected: dropped,
        }

    async def done(self) -> None:
        assert await self.call(b"answer", timeout=PATIENCE) == b""

    async def failed(self) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await self.call(b"fail", timeout=PATIENCE)

    async def expired(self) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await self.call(b"hold", timeout=SHORT)

    async def cancelled(self) -> None:
        started = self.call(b"hold", timeout=PATIENCE)
        await asyncio.sleep(0)
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)

    async def called_off(self) -> None:
        """grpc.aio does not cancel a call whose task is called off just when the interceptors have made it."""

        async def wait() -> Any:
            return await self.call(b"hold", timeout=1.0)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0.001)  # sleep: the call is under way by then, or not: both happen
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def read_to_the_end(self) -> None:
        assert [response async for response in self.streams(b"answer", timeout=PATIENCE)] == [b"first", b""]

    async def _begun(self) -> Any:
        responses = self.streams(b"hold", timeout=self.limit)
        assert await responses.read() == b"first"
        return responses

    async def cancelled_stream(self) -> None:
        (await self._begun()).cancel()

    async def expired_stream(self) -> None:
        async def read() -> None:
            async for response in self.streams(b"hold", timeout=SHORT):
                assert response == b"first"

        with pytest.raises(grpc.aio.AioRpcError):
            await read()

    async def dropped_stream(self) -> None:
        await self._begun()

    async def left_stream(self) -> None:
        async for response in self.streams(b"hold", timeout=self.limit):
            assert response == b"first"
            break

    async def collected(self) -> None:
        """Nobody but the garbage collector finds these; ``check`` calls it, if nobody else does."""
        _lose(await self._begun())


@OURS
@HOW
def test_asyncio_calls_leave_no_span_open(ours: bool, how: str, loop: LoopThread, tally: Tally) -> None:
    interceptors: list[Any] = [
        *telemetry.aio_server_interceptors(tracer_provider=tally.provider),
        *grpc_heartbeat.aio.server_interceptors(),
    ]
    server = AioServer(loop, {"UnaryUnary": _behave_aio, "UnaryStream": _stream_aio}, interceptors)
    make: Any = grpc_heartbeat.aio.insecure_channel if ours else grpc.aio.insecure_channel
    made: Counter[int] = Counter()

    async def open_channel() -> Any:
        return aio_traced(make, server.target, how, tally)

    async def together(ways: AioWays) -> None:
        await asyncio.gather(*(way() for way in ways.all for _ in range(TOGETHER)))

    channel = loop.run(open_channel())
    ways = AioWays(channel, CANCELLED if ours else EITHER)
    while made.total() < ENOUGH:
        asyncio.run_coroutine_threadsafe(together(ways), loop.loop).result(60)  # a loud machine may take its time
        for status in ways.all.values():
            made[status] += TOGETHER
    check(tally, made)
    loop.run(channel.close())
    server.close()
