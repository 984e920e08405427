"""The drivers of the wheels: members are woken on the right thread, from wherever they were added."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from time import monotonic

import pytest

from grpc_heartbeat import _faults
from grpc_heartbeat._ticks import Ticks, loop_ticks, ticks
from grpc_heartbeat.core.wheel import Member
from tests.aiorun import run as run_on_loop


class Counter(Member):
    def __init__(self, times: int, step: float = 0.01) -> None:
        self.slot = None
        self.times = times
        self.step = step
        self.over = threading.Event()
        self.threads: set[str] = set()

    def tick(self, now: float) -> float | None:
        assert now <= monotonic()
        self.threads.add(threading.current_thread().name)
        self.times -= 1
        if self.times:
            return now + self.step
        self.over.set()
        return None


def test_members_tick_on_the_timer_thread_until_they_have_enough() -> None:
    members = [Counter(5) for _ in range(20)]
    for member in members:
        ticks().add(member, monotonic())
    for member in members:
        assert member.over.wait(5)
        assert member.threads == {"grpc-heartbeat-timers"}


def test_an_earlier_member_is_not_lost_behind_a_later_one() -> None:
    later, earlier = Counter(1), Counter(1)
    ticks().add(later, monotonic() + 30)
    ticks().add(earlier, monotonic() + 0.01)
    assert earlier.over.wait(5)
    ticks().remove(later)
    assert not later.over.is_set()


def test_what_is_asked_for_too_late_is_no_pause() -> None:
    member, again = Counter(1), Counter(2, step=-60.0)
    pauses = ticks().pauses
    before = pauses.total
    ticks().add(member, monotonic() - 60)
    ticks().add(again, monotonic())
    assert member.over.wait(5)
    assert again.over.wait(5)
    assert pauses.total - before < 30


@pytest.mark.internal_faults
def test_a_member_that_raises_stops_and_the_others_go_on() -> None:
    class Broken(Counter):
        def tick(self, now: float) -> float | None:
            raise RuntimeError("broken member")

    before = _faults.counts().get("ticks.member", 0)
    well = Counter(3)
    ticks().add(Broken(1), monotonic())
    ticks().add(well, monotonic())
    assert well.over.wait(5)
    assert _faults.counts()["ticks.member"] == before + 1


def test_many_threads_may_add_at_once() -> None:
    members = [[Counter(1) for _ in range(50)] for _ in range(8)]

    def add(mine: list[Counter]) -> None:
        for index, member in enumerate(mine):
            ticks().add(member, monotonic() + 0.05 * (index % 3))

    threads = [threading.Thread(target=add, args=(mine,)) for mine in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(member.over.wait(5) for mine in members for member in mine)


def test_each_loop_has_a_wheel_and_a_blocked_loop_is_a_pause() -> None:
    async def run() -> Ticks:
        turning = loop_ticks()
        assert turning is loop_ticks()
        assert turning is not ticks()
        member, over = Counter(3), asyncio.Event()
        member.over.set = over.set  # type: ignore[method-assign]  # a loop must not wait for a thread's event
        turning.add(member, asyncio.get_running_loop().time())
        await asyncio.wait_for(over.wait(), 5)
        assert member.threads == {threading.current_thread().name}
        assert turning.pauses.count == 0
        late, over = Counter(1), asyncio.Event()
        late.over.set = over.set  # type: ignore[method-assign]  # as above
        turning.add(late, asyncio.get_running_loop().time() + 0.01)
        threading.Event().wait(0.2)  # blocks the loop, which is the subject
        await asyncio.wait_for(over.wait(), 5)
        return turning

    pauses = run_on_loop(run()).pauses
    assert pauses.count == 1
    assert pauses.last is not None
    assert pauses.last.cause == "late tick"


def test_closed_loops_are_let_go() -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def turn() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        member, over = Counter(1), asyncio.Event()
        member.over.set = over.set  # type: ignore[method-assign]  # as above
        loop_ticks().add(member, asyncio.get_running_loop().time())
        await asyncio.wait_for(over.wait(), 5)

    for _ in range(5):
        run_on_loop(turn())
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_wheel_of_its_own() -> None:
    parents = ticks()
    assert parents is ticks()
    child = os.fork()
    if child == 0:  # no assertion here: the child of a test runner must leave without a word
        os._exit(0 if ticks() is not parents and ticks().members == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
