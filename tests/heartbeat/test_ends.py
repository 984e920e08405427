"""How things end: frozen processes, cancelled tasks, silent clients, closed loops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._timers import timers
from grpc_heartbeat.core import heartbeat_server
from grpc_heartbeat.core.frames import Beat, Hello
from grpc_heartbeat.core.heartbeat_events import BeatAcked, StreamFailed
from grpc_heartbeat.heartbeat import calls, codec, stream_aio
from grpc_heartbeat.heartbeat.client_aio import AioHeartbeat
from tests import leaks
from tests.heartbeat.ends import CHANNEL_OPTIONS, CLIENT, IMPATIENT, QUICK, AioClient, AioServer, Client, Server
from tests.peers import PATIENCE, LoopThread, wait_until

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_heartbeat.heartbeat.server import add_to_server
server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
board = add_to_server(server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
server.stop(None).wait()
"""


@pytest.fixture
def process() -> Iterator[tuple[int, str]]:
    """A server in a process of its own: its id and address."""
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child.pid, f"127.0.0.1:{int(child.stdout.readline())}"
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.stdin.close()
        child.wait(10)
        child.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_a_frozen_process_is_noticed_and_found_again(process: tuple[int, str], beat: Callable[..., Client]) -> None:
    pid, target = process
    client = beat(target, IMPATIENT)
    client.wait("up")
    os.kill(pid, signal.SIGSTOP)  # its kernel goes on acknowledging every byte
    client.wait("down")
    assert client.wait_for_failure().cause == "silent"
    os.kill(pid, signal.SIGCONT)
    client.wait("up")


def test_no_timer_outlives_a_heartbeat_or_its_server(serve: Callable[..., Server], beat: Callable[..., Client]) -> None:
    server = serve()
    client = beat(server.target)
    client.wait_for(BeatAcked, 2)
    client.close()
    server.close()
    wait_until(lambda: timers().armed() == [])


def test_a_client_that_promised_and_fell_silent_is_let_go(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_server, "SHORTEST_PATIENCE", 0.05)
    with grpc.insecure_channel(serve(max_streams=1).target) as channel:
        silence = threading.Event()

        def frames() -> Iterator[bytes]:
            yield codec.encode(Hello(CLIENT))
            yield codec.encode(Beat(1, next_within=0.01))
            silence.wait(PATIENCE)

        keepalive: Any = channel.stream_stream(calls.KEEPALIVE)
        stream = keepalive(frames(), timeout=PATIENCE)
        assert next(stream)
        assert next(stream)
        with contextlib.suppress(grpc.RpcError):
            assert list(stream) == []
        assert stream.code() in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
        silence.set()


@pytest.fixture(params=[True, False], ids=["as on 3.11", "as on 3.10"])
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to tell a cancelled task from a cancelled call."""
    if request.param and not hasattr(asyncio.Task, "cancelling"):
        pytest.skip("this Python does not count")
    monkeypatch.setattr(stream_aio, "_TASKS_COUNT_CANCELS", request.param)


async def leave_it_running(target: str) -> AioHeartbeat:
    channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    heartbeat = AioHeartbeat(channel, QUICK, CLIENT)
    up = asyncio.Event()
    heartbeat.observers.add(lambda event: up.set() if isinstance(event, BeatAcked) else None)
    heartbeat.start()
    await asyncio.wait_for(up.wait(), PATIENCE)
    return heartbeat


@pytest.mark.usefixtures("counted")
def test_a_loop_that_ends_with_a_running_heartbeat_ends(loop: LoopThread) -> None:
    server = AioServer(loop)
    heartbeat = asyncio.run(leave_it_running(server.target))
    assert heartbeat.snapshot().state == "closed"
    server.close()


def test_a_heartbeat_closes_whose_loop_was_closed_under_it(loop: LoopThread) -> None:
    server = AioServer(loop)
    own = asyncio.new_event_loop()
    heartbeat = own.run_until_complete(leave_it_running(server.target))
    for task in asyncio.all_tasks(own):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # as it has to be, on a loop that was not shut down
    own.close()
    asyncio.run(asyncio.wait_for(heartbeat.close(), PATIENCE))
    assert heartbeat.snapshot().state == "closed"
    server.close()


@pytest.mark.usefixtures("counted")
def test_a_call_that_is_cancelled_from_elsewhere_is_opened_again(loop: LoopThread) -> None:
    server = AioServer(loop)
    client = AioClient(loop, server.target)
    client.wait("up")
    loop.loop.call_soon_threadsafe(lambda: client.heartbeat._stream._call.cancel())
    assert client.wait_for(StreamFailed)[0].cause == "unclear"
    wait_until(lambda: client.snapshot().streams == 2)
    client.close()
    server.close()


async def test_a_heartbeat_that_never_started_closes() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        heartbeat = AioHeartbeat(channel, QUICK, CLIENT)
        await heartbeat.close()
        heartbeat.start()
        assert heartbeat.snapshot().state == "closed"
        await leaks.end_of_tasks()
        assert loop_timers().armed() == []


async def test_a_task_that_starts_a_heartbeat_may_be_cancelled() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        heartbeat = AioHeartbeat(channel, QUICK, CLIENT)

        async def owner() -> None:
            heartbeat.start()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(owner())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert heartbeat.snapshot().state in ("connecting", "down")
        await heartbeat.close()
        assert heartbeat.snapshot().state == "closed"
