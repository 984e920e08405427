"""A heartbeat follows its channel to another connection, and its owner's order to another channel; neither is an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
import grpc_heartbeat.aio
from grpc_heartbeat import _grpcio
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat.config import BreakerPolicy, HeartbeatPolicy, Timeouts
from grpc_heartbeat.core.frames import GoodbyeReason
from grpc_heartbeat.core.heartbeat_events import (
    BeatAcked,
    HeartbeatClosed,
    PeerLeft,
    StreamClosed,
    StreamFailed,
    StreamOpened,
)
from grpc_heartbeat.heartbeat import server
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from tests.heartbeat.ends import CHANNEL_OPTIONS, AioClient, Client, Server
from tests.peers import OPTIONS, PATIENCE, LoopThread, wait_until

Beat = Callable[..., Client]
BRISK = HeartbeatPolicy(interval=0.1, misses=50, reconnect_min=0.02)


@pytest.fixture
def aging() -> Iterator[str]:
    """A server that leaves each connection after half a second, and lets what is held on it go on for ever: its address."""
    pool = ThreadPoolExecutor(2)
    aging = grpc.server(pool, options=[*OPTIONS, ("grpc.max_connection_age_ms", 500)])
    board = server.add_to_server(aging)
    target = f"127.0.0.1:{aging.add_insecure_port('127.0.0.1:0')}"
    aging.start()
    yield target
    aging.stop(None).wait(PATIENCE)
    board.close()
    pool.shutdown()


def test_a_stream_that_an_old_connection_would_keep_is_moved_without_alarm(aging: str, beat: Beat, engine: str) -> None:
    if engine == "sync" and not _grpcio.usable():
        pytest.skip("the state of a synchronous channel cannot be looked at")
    client = beat(aging, BRISK)
    client.wait_for(StreamOpened, 3)
    first, *_ = client.of(StreamClosed)
    assert first.why == "the connection was replaced"
    assert not any(event.opened for event in client.of(StreamFailed))


@pytest.mark.skipif(not _grpcio.usable(), reason="the state of a synchronous channel cannot be looked at")
def test_a_connection_that_was_lost_and_made_again_between_two_beats_is_heard_of(aging: str) -> None:
    """Every look at the channel finds it READY. A call that found no connection tells."""
    timeouts = Timeouts(connect=5.0)
    with grpc_heartbeat.insecure_channel(aging, CHANNEL_OPTIONS, timeouts=timeouts, heartbeat=BRISK) as channel:
        heartbeat: Any = channel.heartbeat
        closed: list[StreamClosed] = []
        heartbeat.observers.add(lambda event: closed.append(event) if isinstance(event, StreamClosed) else None)
        heartbeat._ready = lambda: True
        wait_until(lambda: heartbeat.snapshot().acked)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")

        def asked() -> bool:
            check(b"")
            return bool(closed)

        wait_until(asked)
        assert closed[0].why == "the connection was replaced"


SELDOM = HeartbeatPolicy(interval=3600.0, timeout=PATIENCE, reconnect_min=0.02)
"""Its first beat comes at once, its second when the test is long over."""


@pytest.mark.skipif(not _grpcio.usable(), reason="the state of a synchronous channel cannot be looked at")
@pytest.mark.parametrize("breaker", [None, BreakerPolicy()], ids=["plain", "guarded"])
def test_a_connection_that_calls_waited_for_is_heard_of_before_the_next_beat(
    aging: str, breaker: BreakerPolicy | None
) -> None:
    with grpc_heartbeat.insecure_channel(
        aging, CHANNEL_OPTIONS, timeouts=Timeouts(connect=5.0), heartbeat=SELDOM, breaker=breaker
    ) as channel:
        heartbeat: Any = channel.heartbeat
        closed: list[StreamClosed] = []
        heartbeat.observers.add(lambda event: closed.append(event) if isinstance(event, StreamClosed) else None)
        wait_until(lambda: heartbeat.snapshot().acked)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")

        def asked() -> bool:
            check(b"")
            return bool(closed)

        wait_until(asked)
        assert closed[0].why == "the connection was replaced"
        wait_until(lambda: heartbeat.snapshot().streams >= 2)
        assert heartbeat.snapshot().failures == 0


@pytest.mark.parametrize("breaker", [None, BreakerPolicy()], ids=["plain", "guarded"])
async def test_so_it_is_on_a_loop(aging: str, breaker: BreakerPolicy | None) -> None:
    async with grpc_heartbeat.aio.insecure_channel(
        aging, options=CHANNEL_OPTIONS, timeouts=Timeouts(connect=5.0), heartbeat=SELDOM, breaker=breaker
    ) as channel:
        heartbeat: Any = channel.heartbeat
        closed: list[StreamClosed] = []
        heartbeat.observers.add(lambda event: closed.append(event) if isinstance(event, StreamClosed) else None)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while not closed and asyncio.get_running_loop().time() < give_up:
            await check(b"")
        assert [event.why for event in closed] == ["the connection was replaced"]
        while heartbeat.snapshot().streams < 2 and asyncio.get_running_loop().time() < give_up:
            await check(b"")
        assert heartbeat.snapshot().streams >= 2
        assert heartbeat.snapshot().failures == 0


def test_it_moves_to_another_channel_and_stays_what_it_is(serve: Callable[..., Server], beat: Beat) -> None:
    client = beat(serve().target)
    client.wait_for(BeatAcked, 2)
    beats = client.snapshot().beats
    with Other(client, serve().target) as channel:
        client.move(channel)
        client.wait_for(StreamOpened, 2)
        client.wait("up")
        assert client.of(StreamClosed)[0].why == "moved to another channel"
        assert not client.of(StreamFailed)
        assert not client.of(HeartbeatClosed)
        assert client.snapshot().beats >= beats
        wait_until(lambda: not client.heartbeat._parting)
        client.stop()
        client.move(channel)
        assert client.snapshot().state == "closed"


def test_a_heartbeat_that_begins_by_moving_knows_of_its_pauses(serve: Callable[..., Server]) -> None:
    with grpc.insecure_channel(serve().target) as channel:
        heartbeat = SyncHeartbeat(channel, BRISK)
        heartbeat.move(channel)
        wait_until(lambda: heartbeat.snapshot().state == "up")
        assert heartbeat._client._judge.pauses is ticks().pauses
        heartbeat.close()


def test_it_moves_after_the_time_that_was_asked_for(serve: Callable[..., Server], beat: Beat) -> None:
    target = serve().target
    client = beat(target)
    client.wait("up")
    with Other(client, target) as channel:
        client.move(channel, 0.3)
        opened = client.wait_for(StreamOpened, 2)[1]
        assert opened.at - client.of(StreamClosed)[0].at >= 0.3
        client.stop()


def test_a_heartbeat_that_rests_begins_anew_on_another_channel(serve: Callable[..., Server], beat: Beat) -> None:
    client = beat(serve(heartbeats=False).target)
    client.wait("unsupported")
    wait_until(client.rests)
    with Other(client, serve().target) as channel:
        client.move(channel)
        client.wait("up")
        client.stop()


def test_a_drain_is_heard_at_once_on_idle_streams(serve: Callable[..., Server], beat: Beat) -> None:
    started = serve()
    client = beat(started.target, HeartbeatPolicy(interval=3600.0))
    client.wait_for(BeatAcked)
    started.board.drain("now")
    left = client.wait_for(PeerLeft)[0]
    assert (left.reason, left.message) == (GoodbyeReason.DRAINING, "now")


class Other:
    """Another channel for a client; a context manager."""

    def __init__(self, client: Client, target: str) -> None:
        self._loop: LoopThread | None = client._loop if isinstance(client, AioClient) else None
        self._target = target

    def __enter__(self) -> Any:
        self._channel: Any = self._run(self._make) if self._loop else grpc.insecure_channel(self._target, QUICK_OPTIONS)
        return self._channel

    def __exit__(self, *_: object) -> None:
        if self._loop is None:
            self._channel.close()
        else:
            self._loop.run(self._channel.close())

    def _run(self, make: Callable[[], Any]) -> Any:
        async def made() -> Any:
            return make()

        assert self._loop is not None
        return self._loop.run(made())

    def _make(self) -> Any:
        return grpc.aio.insecure_channel(self._target, options=QUICK_OPTIONS)


QUICK_OPTIONS = [*CHANNEL_OPTIONS, ("grpc.primary_user_agent", "other")]
