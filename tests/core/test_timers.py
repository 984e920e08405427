"""The timer queue against a naive model, and its memory bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from grpc_heartbeat.core import lane as lane_module
from grpc_heartbeat.core import timers as timers_module
from grpc_heartbeat.core.lane import SWEEP_MINIMUM, Lane
from grpc_heartbeat.core.timers import Alarm, Timeout, Timer, TimerQueue

DURATIONS = (0.5, 1.0, 3.0)


def ignore() -> None:
    pass


class Call(Timer):
    """A call that is its own timer, as drivers have them: its ``__init__`` does not call the timer's."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        self.name = name

    def fire(self) -> str:
        return self.name


class QueueAgainstModel(RuleBasedStateMachine):
    """The model is a dictionary of instants; the queue must fire what the model says, when it says so, once."""

    timers = Bundle("timers")

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(lane_module, "STRETCH", 2)
        self.patches.setattr(timers_module, "MOST_IDLE_LANES", 1)
        self.now = 0.0
        self.queue = TimerQueue(self.kick)
        self.lanes = [self.queue.lane(duration) for duration in DURATIONS]
        self.model: dict[Timer, float] = {}
        self.asleep_until = math.inf

    def teardown(self) -> None:
        self.patches.undo()

    def kick(self) -> None:
        self.asleep_until = -math.inf

    @rule(target=timers, duration=st.sampled_from(DURATIONS))
    def make_timeout(self, duration: float) -> Timer:
        return self.queue.timeout(duration, ignore)

    @rule(target=timers)
    def make_alarm(self) -> Timer:
        return self.queue.alarm(ignore)

    @rule(target=timers, lane=st.integers(0, len(DURATIONS) - 1))
    def start_call(self, lane: int) -> Timer:
        """The lane was looked up long ago; the queue may have let go of it."""
        call = Call()
        call.start(self.lanes[lane], self.now)
        self.model[call] = self.now + DURATIONS[lane]
        return call

    @rule(timer=timers, ahead=st.floats(-1, 5))
    def arm(self, timer: Timer, ahead: float) -> None:
        if isinstance(timer, Timeout):
            timer.arm(self.now)
            assert timer.duration is not None
            self.model[timer] = self.now + timer.duration
        else:
            timer.arm_at(self.now + ahead)
            self.model[timer] = self.now + ahead

    @rule(timer=timers, ahead=st.floats(-1, 5))
    def move(self, timer: Timer, ahead: float) -> None:
        timer.arm_at(self.now + ahead)
        self.model[timer] = self.now + ahead

    @rule(timer=timers, by_store=st.booleans())
    def cancel(self, timer: Timer, by_store: bool) -> None:
        if by_store:
            timer.when = None
        else:
            timer.cancel()
        self.model.pop(timer, None)

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

    @rule(lane=st.integers(0, len(DURATIONS) - 1))
    def ask_for_a_sweep(self, lane: int) -> None:
        self.lanes[lane].ask_driver()

    @rule()
    def sweep_heap(self) -> None:
        self.queue._sweep_heap()

    @rule()
    def fork(self) -> None:
        self.queue.forget()
        self.model.clear()
        self.asleep_until = math.inf

    @invariant()
    def nothing_is_overslept(self) -> None:
        assert self.asleep_until <= min(self.model.values(), default=math.inf)

    @invariant()
    def armed_is_what_the_model_holds(self) -> None:
        armed = list(self.queue.armed())
        assert len(armed) == len(set(armed))
        assert set(armed) == set(self.model)
        assert all(timer.armed for timer in self.model)

    @invariant()
    def lanes_are_sorted(self) -> None:
        for lane in self.lanes:
            dues = [entry.due for queue in lane.queues() for entry in queue]
            assert dues == sorted(dues)


TestQueueAgainstModel = QueueAgainstModel.TestCase


def test_a_million_cancelled_timeouts_are_not_kept() -> None:
    wanted: list[bool] = []
    queue = TimerQueue(lambda: wanted.append(True))
    most = 0
    for number in range(100_000):
        if number % 2:
            timer: Timer = Call()
            timer.start(queue.lane(3600), 0.0)
        else:
            timer = timeout = queue.timeout(3600, ignore)
            timeout.arm(0.0)
        timer.cancel()
        if wanted:
            wanted.clear()
            assert queue.wake(0.0) == []
            queue.next_wakeup()
        most = max(most, len(queue))
    assert most <= SWEEP_MINIMUM + 1


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


def test_a_long_sweep_goes_in_stretches_and_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "STRETCH", 100)
    queue = TimerQueue(ignore)
    lane = queue.lane(10)
    calls = [Call() for _ in range(SWEEP_MINIMUM + 1)]
    for instant, call in enumerate(calls):
        call.start(lane, instant / 1000)
    for call in calls[50:]:
        call.cancel()
    alarm = queue.alarm(ignore)
    alarm.arm(1.0)
    stretches = 0
    while queue.next_wakeup() == -math.inf:
        stretches += 1
        before = len(queue)
        assert queue.wake(1.0) == ([alarm] if stretches == 1 else [])
        assert before - len(queue) <= 101
    assert stretches == 11
    assert len(queue) == 50
    assert queue.next_wakeup() == 10.0
    assert queue.wake(11.0) == calls[:50]


def test_what_survived_one_sweep_is_swept_by_the_next() -> None:
    queue = TimerQueue(ignore)
    lane = queue.lane(10)
    calls = [Call() for _ in range(100)]
    for call in calls:
        call.start(lane, 0.0)
    lane.ask_driver()
    queue.wake(1.0)
    assert len(queue) == 100
    for call in calls[1:]:
        call.cancel()
    lane.ask_driver()
    queue.wake(1.0)
    assert len(queue) == 1
    assert queue.wake(10.0) == calls[:1]


def test_timers_fire_in_order_in_the_middle_of_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "STRETCH", 4)
    queue = TimerQueue(ignore)
    lane = queue.lane(10)
    calls = [Call() for _ in range(20)]
    for instant, call in enumerate(calls[:10]):
        call.start(lane, float(instant))
    lane.ask_driver()
    while queue.next_wakeup() == -math.inf:  # all ten have survived one sweep
        assert queue.wake(9.0) == []
    for instant, call in enumerate(calls[10:], 10):
        call.start(lane, float(instant))
    lane.ask_driver()
    for instant in range(20):
        assert queue.wake(10.0 + instant) == [calls[instant]]


def test_a_lane_that_came_back_is_there_once() -> None:
    queue = TimerQueue(ignore)
    lanes = [queue.lane(1 + number) for number in range(timers_module.MOST_IDLE_LANES + 1)]
    queue.wake(0.0)
    for number in range(timers_module.MOST_IDLE_LANES + 1):
        queue.lane(1 + number)  # a successor, which the next wake lets go of
    call = Call()
    call.start(lanes[0], 0.0)
    queue.wake(0.0)
    lanes[0].ask_driver()
    assert len(queue) == 1
    assert list(queue.armed()) == [call]


def test_a_lane_that_was_let_go_of_comes_back_with_its_first_timer() -> None:
    queue = TimerQueue(ignore)
    idle = [queue.lane(1 + number) for number in range(timers_module.MOST_IDLE_LANES + 1)]
    queue.wake(0.0)
    assert not queue._lanes
    successor = queue.lane(1)
    calls = [Call(), Call(), Call()]
    for call, lane in zip(calls, (idle[0], successor, idle[1]), strict=True):
        call.start(lane, 0.0)
    assert queue.next_wakeup() == -math.inf  # the lanes that came back ask to be looked at
    assert queue.wake(0.5) == []
    assert queue.next_wakeup() == 1.0
    assert set(queue.wake(1.0)) == {calls[0], calls[1]}
    assert queue.wake(2.0) == [calls[2]]


def test_lengths_that_are_computed_do_not_pile_up() -> None:
    queue = TimerQueue(ignore)
    for number in range(10_000):
        queue.timeout(1 + number / 1e6, ignore).arm(float(number))
        queue.wake(float(number))
    assert len(queue._lanes) <= timers_module.MOST_IDLE_LANES + 2


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


def test_a_timeout_that_was_put_off_can_be_restarted_for_sooner() -> None:
    queue = TimerQueue(ignore)
    timer = queue.timeout(1, ignore)
    timer.arm_at(50.0)
    timer.arm(2.0)
    assert queue.wake(3.0) == [timer]


def test_a_fork_in_the_middle_of_a_sweep_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "STRETCH", 10)
    queue = TimerQueue(ignore)
    lane = queue.lane(10)
    for when in (0.0, 1.0):
        for _ in range(SWEEP_MINIMUM + 1):
            call = Call()
            call.start(lane, when)
            call.cancel()
        assert lane.sweeping
        queue.wake(1.0)
        assert lane.sweeping
        if when == 0.0:
            queue.forget()
            assert len(queue) == 0
            assert not lane.sweeping
    while queue.next_wakeup() == -math.inf:
        queue.wake(1.0)
    assert len(queue) == 0


def test_a_fired_timer_can_be_armed_again() -> None:
    queue = TimerQueue(ignore)
    timer = queue.timeout(1, ignore)
    for start in (0.0, 1.0, 7.0):
        timer.arm(start)
        assert queue.wake(start + 0.99) == []
        assert queue.wake(start + 1.0) == [timer]
        assert not timer.armed
        assert queue.wake(start + 1.0) == []


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
    assert len(queue) == 2  # where it was at first, and where it is now
    assert queue.wake(10.0) == [alarm]
    assert len(queue) == 0


def test_a_place_that_is_not_current_is_not_moved_on() -> None:
    queue = TimerQueue(ignore)
    alarm = queue.alarm(ignore)
    alarm.arm(10.0)
    alarm.arm(3.0)
    assert queue.wake(3.0) == [alarm]
    alarm.arm(20.0)
    assert queue.wake(10.0) == []
    assert len(queue) == 1
    assert queue.wake(20.0) == [alarm]


def test_a_timeout_whose_first_place_is_still_queued_does_not_hold_up_younger_ones() -> None:
    queue = TimerQueue(ignore)
    timer, younger = queue.timeout(10, ignore), queue.timeout(10, ignore)
    timer.arm(0.0)
    timer.arm_at(1.0)
    assert queue.wake(1.0) == [timer]
    younger.arm(2.0)
    timer.arm(5.0)
    assert queue.wake(12.0) == [younger]
    assert queue.wake(15.0) == [timer]


def test_a_late_wakeup_fires_all_that_is_due_and_says_how_late() -> None:
    queue = TimerQueue(ignore)
    calls = [Call(str(number)) for number in range(4)]
    for number, call in enumerate(calls):
        call.start(queue.lane(1 + number), 0.0)
    fired = queue.wake(3.5)
    assert [timer.fire() for timer in fired] == ["0", "1", "2"]
    for timer in fired:
        queue.firing(timer, 3.5)
    late = queue.lateness.summary()
    assert (late.count, late.max) == (3, 2.5)
    assert late.p50 == pytest.approx(1.5, rel=1 / 16)


def test_the_driver_is_called_only_for_what_it_would_miss() -> None:
    kicks: list[bool] = []
    queue = TimerQueue(lambda: kicks.append(True))
    queue.timeout(5, ignore).arm(0.0)
    assert queue.next_wakeup() == 5.0
    kicks.clear()
    queue.timeout(5, ignore).arm(1.0)
    queue.timeout(9, ignore).arm(1.0)
    Call().start(queue.lane(9), 1.0)
    assert not kicks
    queue.timeout(2, ignore).arm(1.0)
    assert len(kicks) == 1
    Call().start(queue.lane(1.5), 1.0)
    assert len(kicks) == 2


@given(st.floats(max_value=0) | st.just(math.inf) | st.just(math.nan))
def test_a_duration_is_positive_and_finite(duration: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        TimerQueue(ignore).timeout(duration, ignore)


class Owner:
    def describe(self) -> str:
        return "a call of /shop.Orders/Buy"

    def look(self) -> None:
        pass


def test_a_timer_says_whose_it_is() -> None:
    queue = TimerQueue(ignore)
    owned: Any = queue.timeout(1, Owner().look)
    assert owned.describe() == f"{__name__}.Owner.look: a call of /shop.Orders/Buy"
    assert queue.alarm(ignore).describe() == f"{__name__}.ignore"
    assert Call().describe() == "Call"
    assert (owned.duration, queue.alarm(ignore).duration) == (1, None)


def test_a_timer_that_cannot_fire_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Timer\.fire"):
        Timer(Lane(TimerQueue(ignore), 1.0)).fire()


def test_an_alarm_is_a_timer_for_instants() -> None:
    alarm = TimerQueue(ignore).alarm(ignore)
    assert isinstance(alarm, Alarm)
    assert not alarm.armed


def test_a_driver_that_is_awake_drops_what_was_cancelled_at_the_head_of_a_lane() -> None:
    queue = TimerQueue(lambda: None)
    timers = [queue.timeout(2.0, lambda: None) for _ in range(5)]
    for index, timer in enumerate(timers):
        timer.arm(float(index))
    for timer in (timers[0], timers[1], timers[2], timers[4]):
        timer.cancel()
    assert queue.next_wakeup() == 2.0
    assert queue.wake(2.0) == []
    assert queue.next_wakeup() == 5.0  # timers[3]: not once for each that was cancelled
    assert len(queue) == 2
