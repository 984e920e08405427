"""The collector's pauses: heard while somebody listens, told as our own lateness, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from grpc_heartbeat import _gc_pauses
from grpc_heartbeat._ticks import Ticks, loop_ticks, ticks
from grpc_heartbeat._timers import timers
from grpc_heartbeat.core.lateness import LocalPauses
from grpc_heartbeat.core.wheel import Member
from tests.aiorun import run as run_on_loop
from tests.peers import wait_until


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Leave out what other tests have left: the wheel of a loop is there until that is collected."""
    others = _gc_pauses.watchers()
    for other in others:
        _gc_pauses.unwatch(other)
    yield
    for other in others:
        _gc_pauses.watch(other)


class Listener:
    def __init__(self) -> None:
        self.heard: list[float] = []

    def gc_paused(self, seconds: float) -> None:
        self.heard.append(seconds)


class Sleeper(Member):
    def __init__(self) -> None:
        self.slot = None
        self.called = asyncio.Event()

    def tick(self, now: float) -> float | None:
        self.called.set()
        return now + 0.01


def collect_for_a_while() -> float:
    """Have the collector work for longer than is ignored; return how long that took, at the most."""
    size = 100_000
    while True:
        garbage = [[None] for _ in range(size)]
        began = monotonic()
        gc.collect()
        took = monotonic() - began
        del garbage
        if took >= 2 * _gc_pauses.SHORTEST:
            return took
        size *= 2


def installed() -> bool:
    return _gc_pauses._hear in gc.callbacks


def test_pauses_are_told_while_somebody_listens() -> None:
    one, other = Listener(), Listener()
    _gc_pauses.watch(one)
    _gc_pauses.watch(other)
    took = collect_for_a_while()
    assert one.heard[-1] <= took  # those before it may be of the garbage's making
    assert one.heard[-1] >= _gc_pauses.SHORTEST
    assert other.heard == one.heard
    _gc_pauses.unwatch(one)
    assert installed()
    heard = len(one.heard)
    collect_for_a_while()
    assert len(one.heard) == heard
    _gc_pauses.unwatch(other)
    assert _gc_pauses.watchers() == []
    assert not installed()
    _gc_pauses.unwatch(other)


def test_short_collections_are_not_told() -> None:
    listener = Listener()
    _gc_pauses.watch(listener)
    for phase in ("start", "stop"):
        _gc_pauses._hear(phase, {})
    assert listener.heard == []
    _gc_pauses.unwatch(listener)


def test_a_forgotten_listener_takes_the_callback_with_it() -> None:
    _gc_pauses.watch(Listener())
    collect_for_a_while()
    assert not installed()


def test_a_collection_may_come_while_watchers_change() -> None:
    listener = Listener()
    with _gc_pauses._lock:
        _gc_pauses._began = monotonic() - 1.0
        _gc_pauses._hear("stop", {})  # must not wait for the lock that this thread holds
    _gc_pauses.watch(listener)
    assert installed()
    _gc_pauses.unwatch(listener)


def test_many_threads_may_come_and_go() -> None:
    def come_and_go() -> None:
        for _ in range(200):
            listener = Listener()
            _gc_pauses.watch(listener)
            _gc_pauses.unwatch(listener)

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not installed()


def told(pauses: LocalPauses) -> bool:
    last = pauses.last
    return last is not None and pauses.total >= _gc_pauses.SHORTEST


def test_they_are_lateness_of_ours_on_the_timer_thread() -> None:
    wheel, sleeper = ticks(), Sleeper()
    wheel.add(sleeper, monotonic())
    before = wheel.pauses.total
    began = monotonic()
    collect_for_a_while()
    wait_until(lambda: wheel.pauses.total > before)
    last = wheel.pauses.last
    assert last is not None
    assert last.end >= began
    assert last.end - last.start >= _gc_pauses.SHORTEST
    wheel.remove(sleeper)
    assert not installed()


def test_they_are_lateness_of_ours_on_a_loop() -> None:
    async def go() -> LocalPauses:
        wheel, sleeper = loop_ticks(), Sleeper()
        wheel.add(sleeper, wheel.now() + 0.03)
        collect_for_a_while()
        assert not told(wheel.pauses)  # it is noted by the next tick
        await asyncio.wait_for(sleeper.called.wait(), 5)
        wheel.remove(sleeper)
        return wheel.pauses

    assert told(run_on_loop(go()))
    assert not installed()


def test_a_wheel_listens_while_anybody_is_queued() -> None:
    class Once(Sleeper):
        over = threading.Event()

        def tick(self, now: float) -> float | None:
            assert installed()
            self.over.set()
            return None

    wheel = Ticks(timers(), monotonic)
    wheel.add(Once(), monotonic())
    assert Once.over.wait(5)
    wait_until(lambda: not installed())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_no_watchers() -> None:
    listener = Listener()
    _gc_pauses.watch(listener)
    pid = os.fork()
    if not pid:
        os._exit(0 if not _gc_pauses.watchers() and not installed() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert installed()
    _gc_pauses.unwatch(listener)
