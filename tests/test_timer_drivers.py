"""The timer thread and the timers of a loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import pytest

from grpc_heartbeat import _faults, _loop_timers, _timers
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._timers import THREAD_NAME, clock, timers

PATIENCE = 5.0


def test_a_timeout_fires_once_on_the_one_thread() -> None:
    fired: list[str] = []
    done = threading.Event()
    timers().timeout(0.001, lambda: fired.append(threading.current_thread().name)).arm(clock())
    timers().timeout(0.02, done.set).arm(clock())
    assert done.wait(PATIENCE)
    assert fired == [THREAD_NAME]
    assert sum(thread.name == THREAD_NAME for thread in threading.enumerate()) == 1


def test_an_earlier_alarm_wakes_the_thread() -> None:
    done = threading.Event()
    late = timers().alarm(done.set)
    late.arm(clock() + 3600)
    early = timers().alarm(done.set)
    early.arm(clock() + 0.01)
    assert done.wait(PATIENCE)
    assert timers().armed() == [late]
    late.cancel()
    assert timers().armed() == []


@pytest.mark.internal_faults
def test_a_callback_that_raises_stops_nothing() -> None:
    done = threading.Event()
    before = _faults.counts().get("timers.callback", 0)
    timers().timeout(0.001, lambda: 1 / 0).arm(clock())
    timers().timeout(0.02, done.set).arm(clock())
    assert done.wait(PATIENCE)
    assert _faults.counts()["timers.callback"] == before + 1


def test_nothing_is_lost_or_doubled_when_threads_race_with_the_driver() -> None:
    """After the last arming of a round comes a firing; an arming that is replaced in time fires no more."""
    rounds, crowd = 300, 8
    counts = [0] * crowd
    lost: list[str] = []

    def race(index: int) -> None:
        fired = threading.Semaphore(0)
        timer = timers().timeout(0.0005, fired.release)
        for number in range(rounds):
            timer.arm(clock())
            if number % 3 == 0:
                timer.cancel()
                timer.arm(clock())
            if not fired.acquire(timeout=PATIENCE):
                lost.append(f"timer {index} in round {number}")
                return
            counts[index] += 1
            while fired.acquire(blocking=False):  # the first arming of the round may have fired as well
                counts[index] += 1

    threads = [threading.Thread(target=race, args=(index,)) for index in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not lost
    assert all(rounds <= count <= 2 * rounds for count in counts)
    assert timers().armed() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_starts_afresh() -> None:
    parents = timers().timeout(3600, lambda: None)
    parents.arm(clock())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        done = threading.Event()
        fresh = _timers.timers().armed() == []
        _timers.timers().timeout(0.001, done.set).arm(clock())
        os.write(writer, b"ok" if fresh and done.wait(PATIENCE) else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reader, 2)
    os.close(reader)
    os.close(writer)
    parents.cancel()
    assert answer == b"ok"


async def test_loop_timers_fire_in_order_with_one_handle() -> None:
    loop = asyncio.get_running_loop()
    fired: list[int] = []
    done = asyncio.Event()
    handles: list[float] = []
    call_at = loop.call_at

    def counting(when: float, *args: object, **kwargs: object) -> asyncio.TimerHandle:
        handles.append(when)
        return call_at(when, *args, **kwargs)  # type: ignore[arg-type]

    loop.call_at = counting  # type: ignore[method-assign]
    for number in range(100):
        loop_timers().timeout(0.01, lambda number=number: fired.append(number)).arm(loop.time())  # type: ignore[misc]
    loop_timers().timeout(0.03, done.set).arm(loop.time())
    assert len(handles) == 1
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert fired == list(range(100))
    assert loop_timers().armed() == []


async def test_an_earlier_alarm_moves_the_handle() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    late = loop_timers().alarm(done.set)
    late.arm(loop.time() + 3600)
    loop_timers().alarm(done.set).arm(loop.time() + 0.01)
    await asyncio.wait_for(done.wait(), PATIENCE)
    late.cancel()


@pytest.mark.internal_faults
async def test_a_loop_callback_that_raises_stops_nothing() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop_timers().timeout(0.001, lambda: 1 / 0).arm(loop.time())
    loop_timers().timeout(0.005, done.set).arm(loop.time())
    await asyncio.wait_for(done.wait(), PATIENCE)


def test_a_closed_loop_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    held = weakref.ref(loop)
    loop_timers(loop).timeout(5, lambda: None).arm(loop.time())
    loop.close()
    del loop
    other = asyncio.new_event_loop()
    loop_timers(other)
    gc.collect()
    assert held() is None
    assert list(_loop_timers._by_loop) == [other]
    other.close()


def test_without_a_loop_there_are_no_loop_timers() -> None:
    with pytest.raises(RuntimeError):
        loop_timers()
