"""What is promised of every engine of a client's stream: what it costs, that it contains its faults, and that it ends."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from grpc_heartbeat import _grpcio, _grpcio_client_stream, _grpcio_client_stream_aio
from grpc_heartbeat._ticks import ticks
from grpc_heartbeat.config import HeartbeatPolicy
from grpc_heartbeat.core.heartbeat_events import BeatAcked, HeartbeatClosed, StreamFailed
from grpc_heartbeat.heartbeat import codec, stream, stream_aio
from grpc_heartbeat.heartbeat.client import SyncHeartbeat
from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
from tests.heartbeat.ends import CHANNEL_OPTIONS, CLIENT, QUICK, AioServer, Client, Server
from tests.peers import PATIENCE, LoopThread, wait_until

Beat = Callable[..., Client]
MANY = 200
PATIENT = HeartbeatPolicy(interval=0.2, misses=100)


@pytest.fixture
def target() -> Iterator[str]:
    """The address of a server on a loop of its own, whose streams hold no threads."""
    loop = LoopThread()
    server = AioServer(loop, max_streams=2 * MANY)
    yield server.target
    server.close()
    loop.close()


def test_the_engine_is_the_one_that_was_asked_for(target: str, beat: Beat, request: pytest.FixtureRequest) -> None:
    client = beat(target)
    client.wait("up")
    expected = {
        "sync": _grpcio_client_stream.CompletionStream,
        "aio": _grpcio_client_stream_aio.BatchStream,
        "sync public": stream.PublicStream,
        "aio public": stream_aio.PublicStream,
    }[request.node.callspec.params["engine"]]
    assert type(client.heartbeat._stream) is expected


def test_many_heartbeats_on_a_channel_have_no_thread_each(target: str) -> None:
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        threads = threading.active_count()
        heartbeats = [SyncHeartbeat(channel, PATIENT, CLIENT) for _ in range(MANY)]
        for heartbeat in heartbeats:
            heartbeat.start()
        wait_until(lambda: all(heartbeat.snapshot().acked >= 2 for heartbeat in heartbeats), 3 * PATIENCE)
        assert threading.active_count() <= threads + 2, "the channel's and the timers' are enough"
        for heartbeat in heartbeats:
            heartbeat.close()


def test_many_heartbeats_on_a_loop_have_no_task_of_ours_each(target: str, loop: LoopThread) -> None:
    async def run() -> list[str]:
        async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
            heartbeats = [AioHeartbeat(channel, PATIENT, CLIENT) for _ in range(MANY)]
            for heartbeat in heartbeats:
                heartbeat.start()
            enough = asyncio.Event()

            def heard(_: Any) -> None:
                if all(heartbeat.snapshot().acked for heartbeat in heartbeats):
                    enough.set()

            for heartbeat in heartbeats:
                heartbeat.observers.add(heard)
            await enough.wait()
            tasks = [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.gather(*(heartbeat.close() for heartbeat in heartbeats))
            return tasks

    tasks = asyncio.run_coroutine_threadsafe(run(), loop.loop).result(4 * PATIENCE)
    assert len(tasks) <= MANY + 1, "grpc.aio has one that waits for the status of each call"
    assert sum("grpc-heartbeats" in task for task in tasks) == 1


@pytest.mark.internal_faults
def test_a_fault_of_ours_reaches_neither_the_channel_nor_the_beats(
    target: str, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = beat(target)
    client.wait_for(BeatAcked)
    faults = [0]

    def fail(_: Any) -> Any:
        faults[0] += 1
        raise RuntimeError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(codec, "decode", fail)
        wait_until(lambda: faults[0])
    acked = len(client.of(BeatAcked))
    client.wait_for(BeatAcked, acked + 3)
    assert not client.of(HeartbeatClosed)


@pytest.mark.internal_faults
def test_a_batch_that_cannot_be_started_ends_the_stream_and_no_more(
    target: str, beat: Beat, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later grpcio may want other arguments. The next stream on a loop is made by public API."""
    client = beat(target)
    client.wait_for(BeatAcked)
    seam = {"sync": _grpcio_client_stream, "aio": _grpcio_client_stream_aio}[client_stack(request)]
    if client_stack(request) == "aio":
        monkeypatch.setattr(_grpcio_client_stream_aio, "_failed", False)
    with monkeypatch.context() as patched:
        patched.setattr(seam, "_SendMessage", lambda *_: object())
        if "public" in request.node.callspec.params["engine"]:
            client.wait_for(BeatAcked, len(client.of(BeatAcked)) + 1)
            return
        client.wait_for(StreamFailed)
    client.wait_for(BeatAcked, len(client.of(BeatAcked)) + 2)


def client_stack(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["engine"]).partition(" ")[0]


def test_closing_at_any_moment_ends_it(target: str, beat: Beat) -> None:
    chance = random.Random(4)
    for _ in range(20):
        client = beat(target, QUICK)
        moment = chance.choice([0.0, 0.001, 0.005, 0.02, 0.06])
        threading.Event().wait(moment)
        closers = [threading.Thread(target=client.stop) for _ in range(2)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(PATIENCE)
            assert not closer.is_alive()
        assert client.rests()
        assert client.snapshot().state == "closed"
        client.close_channel()


def test_a_channel_may_be_closed_by_an_observer(target: str) -> None:
    """Events come from the thread without which a channel cannot be closed; so its observers are called on another."""
    channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
    heartbeat = SyncHeartbeat(channel, QUICK, CLIENT)
    closed = threading.Event()

    def close(event: Any) -> None:
        if isinstance(event, BeatAcked) and not closed.is_set():
            heartbeat.close()
            channel.close()
            closed.set()

    heartbeat.observers.add(close)
    heartbeat.start()
    assert closed.wait(PATIENCE)
    assert heartbeat.snapshot().state == "closed"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_thousand_openings_leave_nothing(target: str) -> None:
    before = len(left_over())
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        for number in range(2000 // MANY):
            open_and_close([SyncHeartbeat(channel, PATIENT, CLIENT) for _ in range(MANY)], wait=bool(number % 2))
        wait_until(lambda: ticks().members == 0)
        wait_until(lambda: len(left_over()) <= before)


def open_and_close(heartbeats: list[SyncHeartbeat], wait: bool) -> None:
    for heartbeat in heartbeats:
        heartbeat.start()
    if wait:
        wait_until(lambda: all(heartbeat.snapshot().streams for heartbeat in heartbeats), 3 * PATIENCE)
    for heartbeat in heartbeats:
        heartbeat._close("closed")
    for heartbeat in heartbeats:
        heartbeat.close()
        assert heartbeat._stream is None
        assert not heartbeat._parting


def left_over() -> list[Any]:
    gc.collect()
    kinds = (_grpcio_client_stream.CompletionStream, SyncHeartbeat)
    return [found for found in gc.get_objects() if isinstance(found, kinds)]


def test_where_only_public_api_may_be_used_there_is_no_private_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio, "_PUBLIC_API_ONLY", True)
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert _grpcio_client_stream.method_of(channel.stream_stream("/a/b")) is None


class Unary(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)


class Streams(grpc.StreamStreamClientInterceptor):
    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(client_call_details, request_iterator)


@pytest.mark.skipif(not _grpcio.usable(), reason="only grpcio's public API may be used")
def test_an_interceptor_that_wants_to_see_streams_sees_this_one() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        around = grpc.intercept_channel(channel, Unary())
        assert _grpcio_client_stream.method_of(around.stream_stream("/a/b")) is not None
        around = grpc.intercept_channel(channel, Streams())
        assert _grpcio_client_stream.method_of(around.stream_stream("/a/b")) is None
    assert _grpcio_client_stream.method_of(object()) is None
    assert _grpcio_client_stream_aio.method_of(object()) is None


@pytest.mark.internal_faults
@pytest.mark.parametrize("name", ["_SendClose", "_SendMetadata", "_CODES"])
def test_a_seam_that_fails_its_trial_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grpcio_client_stream, "_works", None)
    monkeypatch.setattr(_grpcio_client_stream, name, None)
    assert not _grpcio_client_stream.usable()


def test_servers_of_both_stacks_know_every_engine(serve: Callable[..., Server], beat: Beat) -> None:
    client = beat(serve().target)
    client.wait_for(BeatAcked, 3)
    assert client.snapshot().state == "up"
