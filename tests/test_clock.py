"""The wall clock is stepped by an hour, forth and back: nothing of ours moves.

The clock lies to this library only. grpcio reckons a call's deadline from ``time.time()`` when the call is made, and its C core
reads the system's clock, which a test cannot step.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import grpc.aio
import pytest

import grpc_heartbeat as hb
from grpc_heartbeat import deadline
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.heartbeat_events import BeatAcked, BeatMissed
from tests.channel.dead_ends import silent
from tests.heartbeat.ends import CLIENTS, QUICK, SERVERS
from tests.peers import PATIENCE, LoopThread, path

HOUR = 3600.0
Step = Callable[[float], None]
both_ways = pytest.mark.parametrize("hours", [1, -1])


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    """Step the wall clock that this library sees to so many hours off."""
    off = 0.0
    seconds, nanoseconds = time.time, time.time_ns

    def lied_to() -> bool:
        return str(sys._getframe(2).f_globals.get("__name__")).startswith("grpc_heartbeat")

    def set_off(hours: float) -> None:
        nonlocal off
        off = hours * HOUR

    def lie() -> float:
        return seconds() + off if lied_to() else seconds()

    def lie_ns() -> int:
        return nanoseconds() + int(off * 1e9) if lied_to() else nanoseconds()

    ours = [module for name, module in list(sys.modules.items()) if name.startswith("grpc_heartbeat")]
    for module in (time, *ours):  # ours may have bound the functions to names of their own
        for name, value in list(vars(module).items()):
            if value is seconds or value is nanoseconds:
                monkeypatch.setattr(module, name, lie if value is seconds else lie_ns)
    yield set_off
    monkeypatch.undo()


def test_the_clock_lies_to_this_library_and_to_nobody_else(step: Step) -> None:
    step(1)
    seen = eval("time.time()", {"__name__": "grpc_heartbeat.module", "time": time})
    assert HOUR - 60 < seen - time.time() < HOUR + 60


@both_ways
def test_timers_of_the_thread_stay(step: Step, hours: float) -> None:
    fired = threading.Event()
    late = timers().alarm(lambda: None)
    late.arm(clock() + HOUR / 2)
    started = clock()
    timers().timeout(0.2, fired.set).arm(started)
    step(hours)
    assert fired.wait(PATIENCE)
    assert 0.2 <= clock() - started < PATIENCE
    assert timers().armed() == [late]
    late.cancel()


@both_ways
async def test_timers_of_a_loop_stay(step: Step, hours: float) -> None:
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    late = loop_timers().alarm(lambda: None)
    late.arm(loop.time() + HOUR / 2)
    started = loop.time()
    loop_timers().timeout(0.2, fired.set).arm(started)
    step(hours)
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert loop.time() - started >= 0.2
    assert loop_timers().armed() == [late]
    late.cancel()


@both_ways
def test_what_is_left_of_a_deadline_stays(step: Step, hours: float) -> None:
    with deadline.limit(60.0):
        step(hours)
        left = deadline.remaining()
        assert left is not None
        assert 30 < left <= 60


@both_ways
def test_a_limit_of_a_blocking_call_stays(step: Step, hours: float) -> None:
    with silent() as target, hb.insecure_channel(target, timeouts=hb.Timeouts(total=30.0, connect=0.4)) as channel:
        started = time.monotonic()
        call = channel.unary_unary(path("UnaryUnary")).future(b"")
        step(hours)
        with pytest.raises(grpc.RpcError) as caught:
            call.result()
        assert 0.4 <= time.monotonic() - started < PATIENCE
    ended = caught.value
    assert isinstance(ended, grpc.Call)
    assert ended.code() is grpc.StatusCode.UNAVAILABLE


@both_ways
async def test_a_limit_of_an_awaited_call_stays(step: Step, hours: float) -> None:
    with silent() as target:
        async with hb.aio.insecure_channel(target, timeouts=hb.Timeouts(total=30.0, connect=0.4)) as channel:
            started = time.monotonic()
            call = channel.unary_unary(path("UnaryUnary"))(b"")
            await asyncio.sleep(0)
            step(hours)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert 0.4 <= time.monotonic() - started < PATIENCE
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@both_ways
@pytest.mark.parametrize("stack", ["sync", "aio"])
def test_heartbeats_go_on_without_a_miss(stack: str, step: Step, hours: float) -> None:
    loop = LoopThread()
    server = SERVERS[stack](loop)
    client = CLIENTS[stack](loop, server.target, QUICK)
    try:
        before = client.wait_for(BeatAcked, 2)
        step(hours)
        client.wait_for(BeatAcked, len(before) + 4)
        assert not client.of(BeatMissed)
        status = client.snapshot()
        assert status.state == "up"
        assert status.last_rtt is not None
        assert 0 < status.last_rtt < PATIENCE
    finally:
        client.close()
        server.close()
        loop.close()
