"""What acks say about a server's load, on real servers of both stacks."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_heartbeat import aio as hb_aio
from grpc_heartbeat import server_interceptors
from grpc_heartbeat._grpcio_workers import workers_of
from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.frames import Load, ServingStatus
from grpc_heartbeat.core.heartbeat_events import BeatAcked, StreamFailed
from grpc_heartbeat.core.steering import FIRST_ADVICE
from grpc_heartbeat.heartbeat import server, server_aio
from tests.heartbeat.ends import AioServer, Client, Server, SyncClient, SyncServer
from tests.peers import KINDS, OPTIONS, PATIENCE, LoopThread, handlers, path, wait_until
from tests.seams import PUBLIC_API_ONLY, each, needs_seam

BRISK = HeartbeatPolicy(interval=0.1, timeout=0.1, misses=100)
PATIENT = HeartbeatPolicy(interval=0.5, timeout=0.5, misses=100)
"""A beat whose echo is late for less than half a second is acked all the same."""

Serve = Callable[..., Server]


@pytest.fixture
def watch(loop: LoopThread) -> Iterator[Callable[[str], Client]]:
    """Start a client on threads, which no trouble of the loop can disturb."""
    with ExitStack() as clients:

        def start(target: str, policy: HeartbeatPolicy = BRISK) -> Client:
            client = SyncClient(loop, target, policy)
            clients.callback(client.close)
            client.wait_for(BeatAcked)
            return client

        yield start


@pytest.fixture(params=each(["sync", "aio"], needing=["sync"]))
def workers(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[tuple[ThreadPoolExecutor, str]]:
    """Start a server of which the workers are known; return them and its target."""
    if request.param == "sync":
        sync_server = SyncServer(loop)
        yield sync_server.pool, sync_server.target
        sync_server.close()
    else:
        with ThreadPoolExecutor(2) as pool:
            aio_server = AioServer(loop, workers=pool)
            yield pool, aio_server.target
            aio_server.close()


def acks(client: Client) -> list[BeatAcked]:
    return [event for event in client.of(BeatAcked) if event.ack.load is not None]


def newest(client: Client) -> Load:
    load = client.snapshot().load
    assert load is not None
    return load


def test_what_can_be_measured_is_said(serve: Serve, watch: Callable[..., Client]) -> None:
    client = watch(serve().target)
    load = newest(client)
    assert load.cpu is not None
    assert load.gc_pause is not None
    on_loop = load.loop_lag is not None
    assert (load.queue_delay is None) == (on_loop or PUBLIC_API_ONLY)  # the pool of a sync server has to be found


def test_nothing_is_said_if_so_wished(serve: Serve, watch: Callable[..., Client]) -> None:
    assert watch(serve(load=None).target).snapshot().load is None


def test_stuck_workers_show_at_once_while_beats_are_answered(
    workers: tuple[ThreadPoolExecutor, str], watch: Callable[..., Client]
) -> None:
    pool, target = workers
    client = watch(target)
    release, stuck = threading.Event(), threading.Barrier(3)

    def hold() -> None:
        stuck.wait(PATIENCE)
        release.wait(PATIENCE)

    for _ in range(2):
        pool.submit(hold)
    stuck.wait(PATIENCE)
    since = monotonic()

    def told() -> list[tuple[float, float]]:
        return [(event.at - since, event.ack.load.queue_delay or 0.0) for event in acks(client) if event.ack.load]

    wait_until(lambda: any(delay >= 0.5 for _, delay in told()))
    behind = [passed - delay for passed, delay in told() if delay >= 0.3]
    assert min(behind) <= 0.4  # the delay is told as it grows; a loud machine may hold up some of the acks
    assert min(behind) >= -0.1  # and is that of the workers
    assert pool._work_queue.qsize() <= 1
    assert client.snapshot().state == "up"
    release.set()
    wait_until(lambda: (newest(client).queue_delay or 0.0) < 0.1)


def test_a_loop_that_was_blocked_shows_in_the_next_ack(loop: LoopThread, watch: Callable[..., Client]) -> None:
    aio_server = AioServer(loop)
    client = watch(aio_server.target, PATIENT)
    unblocked = threading.Event()

    def block() -> None:
        time.sleep(0.4)  # sleep: a handler that blocks the loop
        unblocked.set()

    loop.loop.call_soon_threadsafe(block)
    assert unblocked.wait(PATIENCE)
    ended = monotonic()
    wait_until(lambda: acks(client)[-1].at >= ended)
    first = next(event for event in acks(client) if event.at >= ended - 0.01)
    assert first.ack.load is not None
    assert first.ack.load.loop_lag is not None
    assert first.ack.load.loop_lag >= 0.25
    wait_until(lambda: (newest(client).loop_lag or 0.0) < 0.1)
    aio_server.close()


def test_a_garbage_collection_shows(serve: Serve, watch: Callable[..., Client]) -> None:
    client = watch(serve().target, PATIENT)
    took = 0.0
    size = 100_000
    while took < 0.02:
        garbage = [[None] for _ in range(size)]
        began = monotonic()
        gc.collect()
        took = monotonic() - began
        size *= 2
        del garbage
    wait_until(lambda: any(((event.ack.load or Load()).gc_pause or 0.0) >= 0.01 for event in acks(client)))


def test_a_busy_process_says_so(serve: Serve, watch: Callable[..., Client]) -> None:
    client = watch(serve().target)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(1000))

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: (newest(client).cpu or 0.0) > 0.1)
    over.set()
    worker.join()


def test_a_change_of_status_is_in_the_next_ack(serve: Serve, watch: Callable[..., Client]) -> None:
    running = serve()
    client = watch(running.target)
    running.board.set("", False)
    changed = monotonic()
    wait_until(lambda: acks(client)[-1].at > changed + 0.2)
    after = [event.ack.status for event in acks(client) if event.at > changed + 0.01]
    assert set(after) == {ServingStatus.NOT_SERVING}


def test_a_draining_server_says_that_it_wants_no_work(serve: Serve, watch: Callable[..., Client]) -> None:
    running = serve()
    client = watch(running.target)
    running.board.drain("update", probe_period=30.0)
    wait_until(lambda: acks(client)[-1].ack.status is ServingStatus.NOT_SERVING)
    assert client.snapshot().state == "up"


@pytest.mark.slow
def test_a_hot_server_slows_its_clients_down(serve: Serve, watch: Callable[..., Client]) -> None:
    hot = [True]
    client = watch(serve(load=lambda: Load(queue_delay=1.0 if hot[0] else 0.0)).target)
    wait_until(lambda: any(event.ack.advised_interval == FIRST_ADVICE for event in acks(client)))
    count = len(acks(client))
    wait_until(lambda: len(acks(client)) >= count + 2)
    before, last = acks(client)[-2:]
    assert last.at - before.at >= 0.9 * FIRST_ADVICE
    hot[0] = False
    wait_until(lambda: acks(client)[-1].ack.advised_interval == 0.0, seconds=30.0)


@pytest.mark.internal_faults
def test_a_function_for_the_load_that_raises_costs_no_beat(serve: Serve, watch: Callable[..., Client]) -> None:
    client = watch(serve(load=lambda: 1 / 0).target)
    count = len(client.of(BeatAcked))
    client.wait_for(BeatAcked, count + 3)
    assert client.snapshot().load is None


@pytest.mark.internal_faults
@pytest.mark.parametrize(
    "load",
    [Load(cpu=math.nan), Load(queue_delay=math.inf), Load(in_flight=2.5)],  # type: ignore[arg-type]  # the point
)
def test_a_load_that_cannot_be_sent_costs_no_beat(load: Load, serve: Serve, watch: Callable[..., Client]) -> None:
    client = watch(serve(load=lambda: load).target)
    count = len(client.of(BeatAcked))
    client.wait_for(BeatAcked, count + 3)
    assert client.snapshot().load is None
    assert client.of(StreamFailed) == []


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"load": "guessed"}, TypeError),
        ({"load": 1}, TypeError),
        ({"workers": 4}, TypeError),
        ({"max_advised_interval": -1.0}, ValueError),
        ({"max_advised_interval": None}, TypeError),
    ],
)
def test_what_is_not_meant_is_refused(wrong: dict[str, Any], kind: type[Exception], loop: LoopThread) -> None:
    async def add() -> None:
        server_aio.add_to_server(grpc.aio.server(), **wrong)

    with ThreadPoolExecutor(1) as pool, pytest.raises(kind, match=next(iter(wrong))):
        server.add_to_server(grpc.server(pool), **wrong)
    with pytest.raises(kind, match=next(iter(wrong))):
        loop.run(add())


@needs_seam
def test_the_pool_of_a_server_is_found_where_it_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from grpc_heartbeat import _grpcio_workers

    with ThreadPoolExecutor(1) as pool:
        assert workers_of(grpc.server(pool)) is pool
        assert workers_of(object()) is None
        monkeypatch.setattr(_grpcio_workers, "_PUBLIC_API_ONLY", True)
        assert workers_of(grpc.server(pool)) is None


# In flight


class Held:
    """Handlers of every kind that wait to be let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def response(self, request: Any, context: Any) -> bytes:
        self.go.wait(PATIENCE)
        return b""

    def responses(self, request: Any, context: Any) -> Iterator[bytes]:
        yield b"first"
        self.go.wait(PATIENCE)

    async def _gone(self) -> None:
        await asyncio.to_thread(self.go.wait, PATIENCE)

    async def coroutine(self, request: Any, context: Any) -> bytes:
        await self._gone()
        return b""

    async def generator(self, request: Any, context: Any) -> Any:
        yield b"first"
        await self._gone()

    def table(self, style: str) -> dict[str, Any]:
        one, many = (self.coroutine, self.generator) if style == "coroutines" else (self.response, self.responses)
        return {"UnaryUnary": one, "StreamUnary": one, "UnaryStream": many, "StreamStream": many}


@pytest.fixture(params=["sync", "coroutines", "plain"])
def business(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[tuple[Held, str]]:
    """Start a server with interceptors, heartbeats and handlers that wait."""
    held = Held()
    pool = ThreadPoolExecutor(8)
    if request.param == "sync":
        running: Any = grpc.server(pool, interceptors=server_interceptors(), options=OPTIONS)
        board = server.add_to_server(running)
        running.add_generic_rpc_handlers((handlers(held.table("sync")),))
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
    else:

        async def start() -> tuple[Any, Any, int]:
            started = grpc.aio.server(pool, interceptors=hb_aio.server_interceptors(), options=OPTIONS)
            its_board = server_aio.add_to_server(started)
            started.add_generic_rpc_handlers((handlers(held.table(request.param)),))
            its_port = started.add_insecure_port("127.0.0.1:0")
            await started.start()
            return started, its_board, its_port

        running, board, port = loop.run(start())
    yield held, f"127.0.0.1:{port}"
    held.go.set()
    if request.param == "sync":
        running.stop(None).wait(PATIENCE)
    else:
        loop.run(running.stop(None))
    board.close()
    pool.shutdown()


def call(channel: Any, kind: str) -> Any:
    if kind == "UnaryUnary":
        return channel.unary_unary(path(kind)).future(b"")
    if kind == "UnaryStream":
        return channel.unary_stream(path(kind))(b"")
    if kind == "StreamUnary":
        return channel.stream_unary(path(kind)).future(iter((b"",)))
    return channel.stream_stream(path(kind))(iter((b"",)))


def test_rpcs_in_flight_are_counted_whatever_their_kind_and_end(
    business: tuple[Held, str], watch: Callable[..., Client]
) -> None:
    held, target = business
    client = watch(target)
    wait_until(lambda: newest(client).in_flight == 0)
    opened: Any = grpc.insecure_channel(target)
    with opened as channel:
        health = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(health) is not None
        calls = [call(channel, kind) for kind in KINDS]
        for streaming in (calls[1], calls[3]):
            assert next(streaming) == b"first"
        wait_until(lambda: newest(client).in_flight == 4)
        held.go.set()
        wait_until(lambda: newest(client).in_flight == 0)
        held.go.clear()
        cut = [call(channel, kind) for kind in KINDS]
        wait_until(lambda: newest(client).in_flight == 4)
        for rpc in (*cut, health):
            rpc.cancel()
        held.go.set()
        wait_until(lambda: newest(client).in_flight == 0)
