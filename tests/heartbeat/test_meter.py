"""The meter runs while it is asked and leaves nothing behind; conditions are joined ten times a second and when they change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from grpc_heartbeat import _faults, _gc_pauses
from grpc_heartbeat._ticks import loop_ticks, ticks
from grpc_heartbeat.core.frames import Load, ServingStatus
from grpc_heartbeat.core.load import CACHED
from grpc_heartbeat.core.steering import Steering
from grpc_heartbeat.health import HealthBoard
from grpc_heartbeat.heartbeat import condition as condition_module
from grpc_heartbeat.heartbeat.condition import Conditions
from grpc_heartbeat.heartbeat.load import LoadMeter
from tests.aiorun import run as run_on_loop
from tests.peers import wait_until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def test_it_starts_with_the_first_reading_and_stops_when_no_more_come(pool: ThreadPoolExecutor) -> None:
    meter = LoadMeter(ticks, pool, lag=False)
    assert not meter.runs
    assert meter not in _gc_pauses.watchers()
    for _ in range(2):  # it comes back
        meter()
        assert meter.runs
        assert meter in _gc_pauses.watchers()
        meter()  # soon after, so nobody is expected to ask for long
        wait_until(lambda: not meter.runs)
        assert meter not in _gc_pauses.watchers()
        assert meter.slot is None


def test_a_closed_meter_rests_for_ever(pool: ThreadPoolExecutor) -> None:
    meter = LoadMeter(ticks, pool, lag=False)
    meter()
    meter.close()
    assert not meter.runs
    assert meter.slot is None
    assert meter().cpu is not None
    assert not meter.runs
    assert meter not in _gc_pauses.watchers()


def test_a_pool_that_is_shut_down_is_asked_no_more() -> None:
    pool = ThreadPoolExecutor(1)
    meter = LoadMeter(ticks, pool, lag=False)
    meter()
    pool.shutdown()

    def says_nothing() -> bool:
        return meter().queue_delay is None

    wait_until(says_nothing)
    meter.close()


def test_a_pool_that_drops_the_no_op_is_not_said_to_be_stuck() -> None:
    pool, gate = ThreadPoolExecutor(1), threading.Event()
    pool.submit(gate.wait, 10)
    meter = LoadMeter(ticks, pool, lag=False)
    meter()
    pool.shutdown(wait=False, cancel_futures=True)

    def says_nothing() -> bool:
        return meter().queue_delay is None

    wait_until(says_nothing)
    gate.set()
    meter.close()


@pytest.mark.internal_faults
def test_a_pool_that_is_broken_costs_the_figure_and_no_more() -> None:
    class Broken(Executor):
        submitted = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.submitted += 1
            raise ZeroDivisionError

    before = _faults.counts().get("load.submit", 0)
    pool = Broken()
    meter = LoadMeter(ticks, pool, lag=False)
    assert meter().queue_delay is None
    assert meter().cpu is not None
    wait_until(lambda: not meter.runs)
    assert _faults.counts()["load.submit"] == before + 1
    assert pool.submitted == 1


def test_there_is_one_no_op_in_the_queue_at_the_most(pool: ThreadPoolExecutor) -> None:
    release = threading.Event()
    pool.submit(release.wait, 10)
    meter = LoadMeter(ticks, pool, lag=False)
    since = monotonic()
    delays = [meter().queue_delay or 0.0]
    while delays[-1] < 0.3:
        delays.append(meter().queue_delay or 0.0)
        assert pool._work_queue.qsize() <= 1
        assert delays[-1] <= monotonic() - since
    assert delays == sorted(delays)
    release.set()
    wait_until(lambda: meter().queue_delay == 0.0)
    meter.close()


def test_a_loop_is_late_before_its_tick_has_come() -> None:
    async def go() -> tuple[float, float]:
        meter = LoadMeter(loop_ticks, None, lag=True)
        meter()
        end = monotonic() + 0.4
        while monotonic() < end:
            pass
        blocked = meter().loop_lag
        await asyncio.sleep(0.1)  # sleep: the loop runs
        meter()
        await asyncio.sleep(0.1)  # sleep: the loop runs
        quiet = meter().loop_lag
        meter.close()
        assert blocked is not None
        assert quiet is not None
        return blocked, quiet

    blocked, quiet = run_on_loop(go())
    assert blocked >= 0.25
    assert quiet < blocked


class Watch:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(condition_module, "clock", watch)
    return watch


class Counter:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Load:
        self.asked += 1
        return Load(in_flight=self.asked)


def test_the_load_is_asked_for_ten_times_a_second_at_the_most(clock: Watch) -> None:
    count = Counter()
    conditions = Conditions(HealthBoard(), count, Steering(3.0))
    first = conditions()
    assert first.load == Load(in_flight=1)
    assert first.advised_interval == 3.0
    clock.now += 0.9 * CACHED
    assert conditions() is first
    clock.now += 0.2 * CACHED
    assert conditions().load == Load(in_flight=2)
    assert count.asked == 2


def test_what_the_board_says_counts_at_once_and_costs_no_reading(clock: Watch) -> None:
    board, count = HealthBoard(), Counter()
    conditions = Conditions(board, count, Steering())
    assert conditions().status is ServingStatus.SERVING
    board.set("other", False)
    known = conditions()
    board.set("", False)
    assert known.status is ServingStatus.SERVING
    assert conditions().status is ServingStatus.NOT_SERVING
    board.set("", True)
    assert conditions().status is ServingStatus.SERVING
    assert conditions().draining is None
    board.drain("update").wait()
    assert conditions().draining == "update"
    assert conditions().status is ServingStatus.NOT_SERVING
    assert count.asked == 1


def test_who_comes_while_another_reads_does_not_wait(clock: Watch) -> None:
    reading, go = threading.Event(), threading.Event()

    def slow() -> Load:
        reading.set()
        go.wait(10)
        return Load(in_flight=1)

    conditions = Conditions(HealthBoard(), slow, Steering())
    reader = threading.Thread(target=conditions)
    reader.start()
    assert reading.wait(10)
    assert conditions().load is None
    go.set()
    reader.join()
    assert conditions().load == Load(in_flight=1)


def test_what_is_read_steers(clock: Watch) -> None:
    conditions = Conditions(HealthBoard(), lambda: Load(loop_lag=1.0), Steering())
    advice = []
    for _ in range(50):
        advice.append(conditions().advised_interval)
        clock.now += 0.15
    assert advice[0] == 0.0
    assert 1.0 in advice
    assert advice == sorted(advice)
