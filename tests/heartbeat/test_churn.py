"""Thousands of streams that come and go leave nothing behind, whether they end or are cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from grpc_heartbeat._ticks import ticks
from grpc_heartbeat.core.frames import Beat, Hello
from grpc_heartbeat.heartbeat import calls, codec
from tests.heartbeat.ends import CLIENT, Server, SyncServer
from tests.peers import LoopThread, wait_until

STREAMS, WARM_UP, AT_ONCE = 2_000, 200, 50
SLACK = 500
"""Objects that may come and go by themselves; a leak of one per stream is four times that."""


async def churn(target: str, streams: int) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        method: Any = channel.stream_stream(calls.KEEPALIVE)

        async def one(number: int) -> None:
            call = method()
            await call.write(codec.encode(Hello(CLIENT)))
            assert isinstance(codec.decode(await call.read()), Hello)
            for sequence in range(1, 1 + number % 4):
                await call.write(codec.encode(Beat(sequence, next_within=30.0)))
                await call.read()
            if number % 2:
                call.cancel()
            else:
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF

        for first in range(0, streams, AT_ONCE):
            await asyncio.gather(*(one(number) for number in range(first, first + AT_ONCE)))


def left(server: Server, loop: LoopThread) -> dict[str, int]:
    """Count what could be left behind, once all streams are over."""
    held = server.board.heartbeats[0]
    wait_until(lambda: held.report().streams == 0)
    if isinstance(server, SyncServer):
        state: Any = server.server
        wait_until(lambda: not state._state.rpc_states)
    wait_until(lambda: len(asyncio.all_tasks(loop.loop)) <= 4)
    wait_until(lambda: ticks().members <= 2)
    gc.collect()
    return {"threads": threading.active_count(), "objects": len(gc.get_objects())}


@pytest.mark.slow
def test_thousands_of_streams_leave_nothing_behind(serve: Callable[..., Server], loop: LoopThread) -> None:
    server = serve()
    threads = threading.Thread(target=asyncio.run, args=(churn(server.target, WARM_UP),))
    threads.start()
    threads.join()
    before = left(server, loop)
    again = threading.Thread(target=asyncio.run, args=(churn(server.target, STREAMS),))
    again.start()
    again.join()
    after = left(server, loop)
    assert after["objects"] - before["objects"] < SLACK
    assert after["threads"] - before["threads"] <= 2, "a pool's idle threads may be as many as at first"
    assert server.board.heartbeats[0].report().opened == WARM_UP + STREAMS
