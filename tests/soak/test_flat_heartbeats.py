"""Thousands of heartbeat streams that were opened and closed, or cancelled, leave nothing behind: not here, not in grpcio.

Both ends are in this process. Of each four streams one ends with a goodbye after a beat, one is given up while it is being
opened, one is cancelled by its client in the middle, and one by a client that says nothing at all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import HeartbeatPolicy, Identity
from grpc_heartbeat.core.events import Event
from grpc_heartbeat.core.frames import Hello
from grpc_heartbeat.core.heartbeat_events import BeatAcked
from grpc_heartbeat.heartbeat import calls, codec
from grpc_heartbeat.heartbeat.held import held_reports
from tests import leaks
from tests.heartbeat.ends import CHANNEL_OPTIONS, AioServer, Server, SyncServer
from tests.peers import LoopThread, wait_until
from tests.soak.flat import check_flat, grpcio_objects, held, more
from tests.soak.scale import scaled

STREAMS = scaled(20_000, 1_200)
AT_ONCE = 40
POLICY = HeartbeatPolicy(interval=0.5)
HELLO = codec.encode(Hello(Identity("soak")))
PATIENCE = 20.0
REMEMBERED = 64
"""Longest history that is kept: of pauses of this process. A quarter of the streams is more than that."""


@pytest.fixture(params=["sync", "aio"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    loop = LoopThread()
    running = (SyncServer if request.param == "sync" else AioServer)(loop)
    yield running
    running.close()
    loop.close()


class Client:
    """Opens and ends streams on one channel of the sync stack."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._raw: Any = channel.stream_stream(calls.KEEPALIVE)

    def run(self, streams: int) -> None:
        for _ in range(0, streams, AT_ONCE):
            self._batch(AT_ONCE // 4)

    def _batch(self, each: int) -> None:
        polite = [self._heartbeat() for _ in range(each)]
        given_up = [self._heartbeat()[0] for _ in range(each)]
        for owner in given_up:
            owner.heartbeat.close()
        cancelled = [self._raw(iter([HELLO])) for _ in range(each)]
        silent = [self._raw(iter([])) for _ in range(each)]
        for call in cancelled:
            next(call)
        for call in (*cancelled, *silent):
            call.cancel()
        for owner, echoed in polite:
            assert echoed.wait(PATIENCE)
            owner.heartbeat.close()

    def _heartbeat(self) -> tuple[Any, threading.Event]:
        echoed = threading.Event()

        def heard(event: Event) -> None:
            if isinstance(event, BeatAcked):
                echoed.set()

        owner = grpc_heartbeat.wrap_channel(self._channel, heartbeat=POLICY)
        assert owner.heartbeat is not None
        owner.heartbeat.observers.add(heard)
        return owner, echoed


class AioClient:
    """The same on the asyncio stack."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._raw: Any = channel.stream_stream(calls.KEEPALIVE)

    async def run(self, streams: int) -> None:
        for _ in range(0, streams, AT_ONCE):
            await self._batch(AT_ONCE // 4)

    async def _batch(self, each: int) -> None:
        polite = [self._heartbeat() for _ in range(each)]
        given_up = [self._heartbeat()[0] for _ in range(each)]
        for owner in given_up:
            await owner.heartbeat.close()
        cancelled, silent = ([self._raw() for _ in range(each)] for _ in range(2))
        for call in cancelled:
            await call.write(HELLO)
            await call.read()
        for call in (*cancelled, *silent):
            call.cancel()
        for owner, echoed in polite:
            await asyncio.wait_for(echoed.wait(), PATIENCE)
            await owner.heartbeat.close()

    def _heartbeat(self) -> tuple[Any, asyncio.Event]:
        echoed = asyncio.Event()

        def heard(event: Event) -> None:
            if isinstance(event, BeatAcked):
                echoed.set()

        owner = grpc_heartbeat.aio.wrap_channel(self._channel, heartbeat=POLICY)
        assert owner.heartbeat is not None
        owner.heartbeat.observers.add(heard)
        return owner, echoed


class Before:
    """What there was before: objects of this library and of grpcio."""

    def __init__(self) -> None:
        self.ours, self.grpcio = held(), grpcio_objects()

    def left(self) -> dict[str, int]:
        """Return what there is more now."""
        return {
            **more(held().objects, self.ours.objects, REMEMBERED),
            **more(grpcio_objects(), self.grpcio, REMEMBERED),
        }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_streams_of_the_sync_stack_leave_nothing_behind(server: Server) -> None:
    with grpc.insecure_channel(server.target, CHANNEL_OPTIONS) as channel:
        client = Client(channel)
        client.run(STREAMS // 2)  # until then caches and the allocator's pools fill
        wait_until(lambda: streams_of(server) == 0)
        before, started = Before(), monotonic()
        client.run(STREAMS // 2)
        seconds = monotonic() - started
        wait_until(lambda: streams_of(server) == 0 and not before.left())
        check_flat(before.ours, STREAMS // 2, seconds, REMEMBERED)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_streams_of_the_asyncio_stack_leave_nothing_behind(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.target, CHANNEL_OPTIONS) as channel:
        client = AioClient(channel)
        await client.run(STREAMS // 2)
        await leaks.end_of_tasks()
        await until_left(server)
        before, started = Before(), monotonic()
        await client.run(STREAMS // 2)
        seconds = monotonic() - started
        await leaks.end_of_tasks()
        await until_left(server)
        for _ in range(100):
            if not before.left():
                break
            await asyncio.sleep(0.1)  # sleep: grpcio's threads let go of calls in their own time
        assert before.left() == {}
        check_flat(before.ours, STREAMS // 2, seconds, REMEMBERED)


async def until_left(server: Server) -> None:
    for _ in range(100):
        if streams_of(server) == 0:
            return
        await asyncio.sleep(0.1)  # sleep: as above
    assert streams_of(server) == 0


def streams_of(server: Server) -> int:
    """Return how many streams the server holds, by its own account."""
    return sum(report.streams for report in held_reports())
