"""What a server says about its load: the worst counts, what goes on counts, and nobody looks for nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.frames import Load
from grpc_heartbeat.core.load import (
    CACHED,
    LONGEST_LINGER,
    PRESSED,
    QUICKEST,
    SLOWEST,
    LagProbe,
    Meter,
    QueueProbe,
    Rhythm,
    Worst,
)


def test_the_worst_is_told_once() -> None:
    worst = Worst()
    for value in (0.1, 0.3, 0.2):
        worst.add(value)
    assert (worst.take(), worst.take()) == (0.3, 0.0)


def test_a_no_op_that_waits_is_the_delay_and_there_is_only_one() -> None:
    probe = QueueProbe()
    assert probe.begin(1.0)
    assert not probe.begin(1.5)
    assert probe.take(3.0) == 2.0
    assert probe.take(4.0) == 3.0
    probe.ran(5.0)
    assert probe.take(9.0) == 1.0  # the rest
    assert probe.take(9.0) == 0.0
    assert probe.begin(9.0)


def test_workers_that_refuse_are_asked_no_more_and_nothing_is_said_of_them() -> None:
    probe = QueueProbe()
    assert probe.begin(1.0)
    probe.refused()
    assert probe.take(2.0) is None
    assert not probe.begin(3.0)


@given(st.lists(st.tuples(st.sampled_from(["begin", "ran", "take"]), st.integers(0, 5)), max_size=60))
def test_no_delay_is_lost_between_readings(steps: list[tuple[str, int]]) -> None:
    probe, now = QueueProbe(), 0
    out: int | None = None
    told = -1
    done: list[int] = [0]
    for what, passed in steps:
        now += passed
        if what == "begin":
            assert probe.begin(now) == (out is None)
            out = now if out is None else out
        elif what == "ran":
            probe.ran(now)
            if out is not None:
                done.append(now - max(out, told))
            out = None
        else:
            assert probe.take(now) == max(*done, 0 if out is None else now - out, 0)
            done, told = [0], now


def test_readings_are_fresher_while_work_waits_for_a_worker() -> None:
    queue = QueueProbe()
    meter = Meter(0.0, 0.0, queue, None, Worst())
    assert Meter(0.0, 0.0, None, None, Worst()).freshness(9.0) == CACHED
    assert meter.freshness(1.0) == CACHED
    queue.begin(1.0)
    assert meter.freshness(1.0 + QUICKEST / 2) == CACHED
    assert meter.freshness(1.0 + QUICKEST) == PRESSED
    queue.ran(1.1)
    assert meter.freshness(1.2) == CACHED


def test_a_loop_that_does_not_call_is_late_before_it_does() -> None:
    probe = LagProbe()
    probe.expect(10.0)
    assert probe.take(9.0) == 0.0
    assert probe.take(10.5) == 0.5
    probe.called(11.0)
    assert probe.take(20.0) == 0.5  # the rest
    probe.called(30.0)
    assert probe.take(40.0) == 0.0


@pytest.mark.parametrize(
    ("interval", "period"), [(0.05, QUICKEST), (0.2, 0.05), (0.3, 0.075), (5.0, SLOWEST), (60.0, SLOWEST)]
)
def test_it_looks_four_times_between_readings(interval: float, period: float) -> None:
    rhythm = Rhythm()
    rhythm.asked(100.0)
    rhythm.asked(100.0 + interval)
    now = 100.0 + interval
    looks = 0
    while (due := rhythm.next(now)) is not None:
        assert due == pytest.approx(now + period)
        now = due
        looks += 1
    quiet = min(LONGEST_LINGER, 2.5 * max(CACHED, interval))
    assert looks * period == pytest.approx(quiet, abs=period + 1e-9)
    assert rhythm.next(now) is None


def test_nobody_looks_before_anybody_has_asked_nor_long_after_the_first() -> None:
    rhythm = Rhythm()
    assert rhythm.next(0.0) is None
    rhythm.asked(1.0)
    assert rhythm.next(3.4) == pytest.approx(3.5)
    assert rhythm.next(3.6) is None
    rhythm.asked(100.0)  # is a first one again
    assert rhythm.next(102.6) is None


def test_a_reading_covers_the_time_since_the_last_one() -> None:
    queue, lag, pauses = QueueProbe(), LagProbe(), Worst()
    meter = Meter(10.0, 3.0, queue, lag, pauses)
    queue.begin(10.0)
    queue.ran(10.25)
    lag.expect(11.0)
    pauses.add(0.5)
    assert meter.read(12.0, 4.0, 7) == Load(7, 0.25, 1.0, 0.5, 0.5)
    lag.called(12.0)
    meter.read(12.0, 4.0, 7)
    assert meter.read(13.0, 4.0, 0) == Load(0, 0.0, 0.0, 0.0, 0.0)


def test_what_is_not_measured_is_absent() -> None:
    meter = Meter(1.0, 0.0, None, None, Worst())
    assert meter.read(2.0, 0.25, None) == Load(None, None, None, 0.25, 0.0)
    assert meter.read(2.0, 0.25, None).cpu is None  # no time has passed
