"""The timer queue against a naive model, and its memory bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from grpc_heartbeat.core.timers import SWEEP_MINIMUM, Alarm, Timeout, Timer, TimerQueue

DURATIONS = (0.5, 1.0, 3.0)


def ignore() -> None:
    pass


class QueueAgainstModel(RuleBasedStateMachine):
    """The model is a dictionary of instants; the queue must fire what the model says, when it says so, once."""

    timers = Bundle("timers")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.kicks = 0
        self.queue = TimerQueue(self.kick)
        self.model: dict[Timer, float] = {}
        self.asleep_until = math.inf

    def kick(self) -> None:
        self.kicks += 1
        self.asleep_until = -math.inf

    @rule(target=timers, duration=st.sampled_from(DURATIONS))
    def make_timeout(self, duration: float) -> tuple[Timer, float]:
        return self.queue.timeout(duration, ignore), duration

    @rule(target=timers)
    def make_alarm(self) -> tuple[Timer, float]:
        return self.queue.alarm(ignore), 0.0

    @rule(made=timers, ahead=st.floats(-1, 5))
    def arm(self, made: tuple[Timer, float], ahead: float) -> None:
        timer, duration = made
        if isinstance(timer, Timeout):
            timer.arm(self.now)
            self.model[timer] = self.now + duration
        elif isinstance(timer, Alarm):
            timer.arm(self.now + ahead)
            self.model[timer] = self.now + ahead

    @rule(made=timers)
    def cancel(self, made: tuple[Timer, float]) -> None:
        made[0].cancel()
        self.model.pop(made[0], None)

    @rule(seconds=st.floats(0, 4))
    def wake(self, seconds: float) -> None:
        self.now += seconds
        fired = self.queue.wake(self.now)
        due = {timer for timer, when in self.model.items() if when <= self.now}
        assert len(fired) == len(set(fired))
        assert set(fired) == due
        self.model = {timer: when for timer, when in self.model.items() if timer not in due}
        wakeup = self.queue.next_wakeup()
        self.asleep_until = math.inf if wakeup is None else wakeup

    @rule()
    def sweep(self) -> None:
        for lane in self.queue._lanes.values():
            lane.sweep()
        self.queue._sweep_heap()

    @invariant()
    def nothing_is_overslept(self) -> None:
        assert self.asleep_until <= min(self.model.values(), default=math.inf)

    @invariant()
    def armed_is_what_the_model_holds(self) -> None:
        assert set(self.queue.armed()) == set(self.model)
        assert all(timer.armed for timer in self.model)


TestQueueAgainstModel = QueueAgainstModel.TestCase


def test_a_million_cancelled_timeouts_are_not_kept() -> None:
    wanted: list[bool] = []
    queue = TimerQueue(lambda: wanted.append(True))
    most = 0
    for _ in range(100_000):
        timer = queue.timeout(3600, ignore)
        timer.arm(0.0)
        timer.cancel()
        if wanted:
            wanted.clear()
            assert queue.wake(0.0) == []
            queue.next_wakeup()
        most = max(most, len(queue))
    assert most <= 2 * SWEEP_MINIMUM


def test_a_sweep_keeps_live_timers_in_order() -> None:
    queue = TimerQueue(ignore)
    timers = [queue.timeout(10, ignore) for _ in range(3 * SWEEP_MINIMUM)]
    for instant, timer in enumerate(timers):
        timer.arm(instant / 1000)
    for timer in timers[::2]:
        timer.cancel()
    queue.wake(5.0)
    assert len(queue) == len(timers) // 2
    assert queue.wake(100.0) == timers[1::2]


def test_restarting_adds_no_entry_and_counts_from_the_last_restart() -> None:
    queue = TimerQueue(ignore)
    timer = queue.timeout(10, ignore)
    for second in range(9):
        timer.arm(float(second))
    assert len(queue) == 1
    assert queue.wake(17.9) == []
    assert queue.wake(18.0) == [timer]


def test_a_restarted_timer_is_not_held_up_by_younger_ones() -> None:
    queue = TimerQueue(ignore)
    restarted, younger = queue.timeout(10, ignore), queue.timeout(10, ignore)
    restarted.arm(0.0)
    younger.arm(9.0)
    restarted.arm(5.0)
    assert queue.wake(10.0) == []
    assert queue.wake(15.0) == [restarted]
    assert queue.wake(19.0) == [younger]


def test_a_fired_timer_can_be_armed_again() -> None:
    queue = TimerQueue(ignore)
    timer = queue.timeout(1, ignore)
    for start in (0.0, 1.0, 7.0):
        timer.arm(start)
        assert queue.wake(start + 0.99) == []
        assert queue.wake(start + 1.0) == [timer]
        assert not timer.armed
        assert queue.wake(start + 1.0) == []


STORED: Any = Timer.__dict__["when"]


class Rearmed(Alarm):
    """Another thread arms it again, for an instant that is past already, between two steps of the driver."""

    races = 0

    @property
    def when(self) -> float | None:
        if self.races and self._entry is None:
            self.races -= 1
            self.arm(1.0)
        found: float | None = STORED.__get__(self)
        return found

    @when.setter
    def when(self, when: float | None) -> None:
        STORED.__set__(self, when)


def test_an_arming_between_two_steps_of_the_driver_fires_once() -> None:
    queue = TimerQueue(ignore)
    racing = Rearmed(queue.inbox, ignore)
    racing.arm(2.0)
    racing.races = 1
    assert queue.wake(5.0) == [racing]
    queue.next_wakeup()
    assert queue.wake(6.0) == []
    racing.arm(7.0)
    assert queue.wake(7.0) == [racing]


def test_an_alarm_can_be_moved_both_ways() -> None:
    queue = TimerQueue(ignore)
    alarm = queue.alarm(ignore)
    alarm.arm(10.0)
    alarm.arm(3.0)
    assert queue.next_wakeup() == 3.0
    assert queue.wake(3.0) == [alarm]
    alarm.arm(5.0)
    alarm.arm(10.0)
    assert queue.wake(9.0) == []
    assert queue.wake(10.0) == [alarm]
    assert len(queue) == 0


def test_the_driver_is_called_only_for_what_it_would_miss() -> None:
    kicks: list[bool] = []
    queue = TimerQueue(lambda: kicks.append(True))
    queue.timeout(5, ignore).arm(0.0)
    assert queue.next_wakeup() == 5.0
    kicks.clear()
    queue.timeout(5, ignore).arm(1.0)
    queue.timeout(9, ignore).arm(1.0)
    assert not kicks
    queue.timeout(2, ignore).arm(1.0)
    assert len(kicks) == 1


@given(st.floats(max_value=0) | st.just(math.inf) | st.just(math.nan))
def test_a_duration_is_positive_and_finite(duration: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        TimerQueue(ignore).timeout(duration, ignore)
