"""The timer thread and the timers of a loop."""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest

from grpc_heartbeat import _faults, _loop_timers
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._timers import THREAD_NAME, TimerThread, clock, timers
from grpc_heartbeat.channel import flight
from grpc_heartbeat.core import lane as core_lane
from grpc_heartbeat.core.timers import Timer
from tests.peers import wait_until

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


@pytest.mark.internal_faults
def test_a_thread_that_could_not_be_started_is_started_by_the_next_arming(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    class Brief(TimerThread):
        def _run(self) -> None:
            for timer in self.queue.wake(clock() + 1):
                timer.fire()

    driver, first, second = Brief(), threading.Event(), threading.Event()
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_thread)
        driver.timeout(0.001, first.set).arm(clock())
    driver.timeout(0.02, second.set).arm(clock())
    assert first.wait(PATIENCE)
    assert second.wait(PATIENCE)


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


def test_one_thread_arms_another_moves_and_cancels() -> None:
    fired = threading.Event()
    never, sooner = timers().alarm(lambda: lost.append(1)), timers().alarm(fired.set)
    lost: list[int] = []
    never.arm(clock() + 0.2)
    sooner.arm(clock() + 3600)

    def meddle() -> None:
        never.cancel()
        sooner.arm(clock() + 0.3)

    other = threading.Thread(target=meddle)
    other.start()
    assert fired.wait(PATIENCE)
    other.join()
    assert not lost


def in_child(work: Callable[[], object]) -> object:
    """Return what ``work`` returns in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, repr(work()).encode())
        except BaseException as error:
            os.write(writer, repr(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return ast.literal_eval(answer.decode())


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
forks = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # "this process is multi-threaded"


@needs_fork
@forks
def test_a_forked_child_starts_afresh_with_the_lanes_and_timers_it_was_given() -> None:
    lane = timers().lane(0.001)
    parents = timers().timeout(3600, lambda: None)
    parents.arm(clock())
    reused = timers().timeout(0.001, lambda: done.set())
    done = threading.Event()
    reused.arm(clock())
    assert done.wait(PATIENCE)
    done = threading.Event()

    def work() -> object:
        fresh = timers().armed() == [] and len(timers().queue) == 0
        call = Call()
        call.start(lane, clock())
        reused.arm(clock())
        parents.arm_at(clock() + 0.001)
        fired = call.fired.wait(PATIENCE) and done.wait(PATIENCE)
        threads = sum(thread.name == THREAD_NAME for thread in threading.enumerate())
        late = timers().queue.lateness.summary().count
        return fresh, fired, threads, late >= 2

    assert in_child(work) == (True, True, 1, True)
    assert timers().armed() == [parents]
    parents.cancel()


class Held(Timer):
    """A timer at which the driver stops when it has it in hand, until ``go``."""

    def __init__(self) -> None:
        self.in_hand = threading.Event()
        self.go = threading.Event()

    @property
    def when(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if threading.current_thread().name == THREAD_NAME:
            self.in_hand.set()
            self.go.wait(PATIENCE)
        return self._when

    @when.setter
    def when(self, when: float | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._when = when

    def fire(self) -> None:
        pass


def test_a_fork_waits_while_the_thread_has_a_timer_in_hand() -> None:
    held = Held()
    held.start(timers().lane(0.001), clock())
    assert held.in_hand.wait(PATIENCE)
    may_fork = threading.Event()

    def fork() -> None:
        timers().before_fork()
        may_fork.set()
        timers().after_fork_in_parent()

    forking = threading.Thread(target=fork)
    forking.start()
    assert not may_fork.wait(0.05)
    held.go.set()
    assert may_fork.wait(PATIENCE)
    forking.join()


@needs_fork
@forks
def test_a_fork_meets_no_half_done_work_of_the_thread() -> None:
    """Timers that the thread had in its hands when the process was forked could not be armed again in the child."""
    stop = threading.Event()
    busy = [timers().timeout(0.0002, lambda: None) for _ in range(500)]

    def keep_arming() -> None:
        while not stop.is_set():
            now = clock()
            for timer in busy:
                timer.arm(now)
            stop.wait(0.0001)

    def work() -> object:
        done = threading.Semaphore(0)
        for timer in busy:
            timer.callback = done.release
            timer.arm(clock())
        return all(done.acquire(timeout=PATIENCE) for _ in busy)

    armer = threading.Thread(target=keep_arming)
    armer.start()
    try:
        assert [in_child(work) for _ in range(10)] == [True] * 10
    finally:
        stop.set()
        armer.join()
    assert in_child(lambda: timers().armed() == []) is True
    wait_until(lambda: timers().armed() == [])


@needs_fork
@forks
def test_a_childs_loops_are_its_own() -> None:
    loop = asyncio.new_event_loop()
    timer = loop_timers(loop).timeout(5, lambda: None)
    timer.arm(loop.time())
    assert in_child(lambda: len(_loop_timers.all_loop_timers())) == 0
    assert in_child(lambda: asyncio.run(fires())) is True
    timer.cancel()
    loop.close()


async def fires() -> bool:
    done = asyncio.Event()
    loop_timers().timeout(0.001, done.set).arm(asyncio.get_running_loop().time())
    await asyncio.wait_for(done.wait(), PATIENCE)
    return True


class Call(Timer):
    """A call that is its own timer."""

    __slots__ = ("fired",)

    def __init__(self) -> None:
        self.fired = threading.Event()

    def fire(self) -> None:
        self.fired.set()


def test_calls_that_are_their_own_timers_race_with_the_driver() -> None:
    """Those that are not cancelled fire, whatever the sweeps do meanwhile."""
    lane, crowd, each = timers().lane(0.05), 4, 3000
    kept: list[Call] = []

    def make_calls() -> None:
        for number in range(each):
            call = Call()
            call.start(lane, clock())
            if number % 100:
                call.when = None
            else:
                kept.append(call)

    threads = [threading.Thread(target=make_calls) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == crowd * each / 100
    assert all(call.fired.wait(PATIENCE) for call in kept)
    assert timers().armed() == []


async def test_a_loops_timer_may_be_armed_from_another_thread() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    alarm = loop_timers().alarm(done.set)
    alarm.arm(loop.time() + 3600)
    loop.set_debug(True)  # then the loop itself refuses what is not safe there
    await asyncio.to_thread(alarm.arm, loop.time() + 0.01)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert loop_timers().armed() == []


async def test_a_long_sweep_lets_the_loop_breathe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_lane, "STRETCH", 10)
    loop = asyncio.get_running_loop()
    queue, lane = loop_timers().queue, loop_timers().lane(3600.0)
    for _ in range(core_lane.SWEEP_MINIMUM + 1):
        call = Call()
        call.start(lane, loop.time())
        call.cancel()
    turns = 0
    while len(queue):
        turns += 1
        assert turns < 1000
        await asyncio.sleep(0)
    assert turns >= core_lane.SWEEP_MINIMUM / 20  # a stretch of the sweep and one at the head


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


@needs_fork
@forks
def test_a_forked_child_can_judge_calls_though_a_thread_of_its_parent_was_at_it() -> None:
    with flight._judging:
        assert in_child(lambda: flight._judging.acquire(blocking=False)) is True
