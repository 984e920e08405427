"""Two threads at the timer queue, interleaved at every step: what one does is put between any two steps of the other.

A step is an access to what both sides see: the timer's fields, and the queue's horizon.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from grpc_heartbeat.core import timers as timers_module
from grpc_heartbeat.core.timers import Timer, TimerQueue

NOW = 5.0
LENGTH = 2.0
Action = Callable[["Race"], object]


class Steps:
    """Counts accesses and lets the other side run at one of them."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.other: Callable[[], object] = lambda: None

    def step(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            self.other()


def shared(base: type, name: str) -> Any:
    """Return a property that stores where ``base`` does and makes every access a step."""
    stored: Any = base.__dict__[name]

    def get(self: Any) -> Any:
        self.steps.step()
        return stored.__get__(self)

    def put(self: Any, value: Any) -> None:
        self.steps.step()
        stored.__set__(self, value)

    return property(get, put)


class Raced(Timer):
    """A timer that both sides work on."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    when = shared(Timer, "when")
    _entry = shared(Timer, "_entry")
    _claimed = shared(Timer, "_claimed")


class RacedQueue(TimerQueue):
    def __init__(self, steps: Steps, on_earlier: Callable[[], object]) -> None:
        self.steps = Steps()  # quiet while it is set up
        self.stored = math.inf
        super().__init__(on_earlier)
        self.steps = steps

    @property
    def horizon(self) -> float:
        self.steps.step()
        return self.stored

    @horizon.setter
    def horizon(self, value: float) -> None:
        self.steps.step()
        self.stored = value


class Race:
    """One timer of a queue, and what the driver knows."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.awake = False
        self.queue = RacedQueue(self.steps, self.kick)
        self.lane = self.queue.lane(LENGTH)
        self.timer = Raced(self.steps)
        self.fired: list[Timer] = []

    def kick(self) -> None:
        self.awake = True

    def drive(self) -> None:
        """One turn of the driver."""
        self.awake = False
        self.fired += self.queue.wake(NOW)
        self.queue.next_wakeup()


def arm_at(when: float) -> Action:
    return lambda race: race.timer.arm_at(when)


def cancel(race: Race) -> None:
    race.timer.cancel()


def drive(race: Race) -> None:
    race.drive()


def sweep(race: Race) -> None:
    race.lane.ask_driver()
    race.drive()
    race.queue._sweep_heap()


PAST, SOON, LATE = arm_at(4.0), arm_at(6.0), arm_at(9.0)
ARMER: list[Action] = [PAST, SOON, LATE, cancel]
DRIVER: list[Action] = [drive, sweep]


@pytest.mark.parametrize("outer", [*ARMER, *DRIVER])
@pytest.mark.parametrize("started", [1.0, 3.5])  # due before and after now
def test_whatever_the_order_an_armed_timer_fires_once_and_in_time(started: float, outer: Action) -> None:
    """Every history of two actions, every pair of sides, every step."""
    actions = [*ARMER, *DRIVER]
    histories = itertools.chain.from_iterable(itertools.product(actions, repeat=length) for length in range(3))
    for history in histories:
        for inner in DRIVER if outer in ARMER else ARMER:
            step = 0
            while race(started, history, outer, inner, step):
                step += 1


def race(started: float, history: Sequence[Action], outer: Action, inner: Action, step: int) -> bool:
    """Run ``inner`` after ``step`` steps of ``outer`` and tell whether it came that far."""
    race = Race()
    race.timer.start(race.lane, started)
    for action in history:
        action(race)
    race.fired.clear()
    race.steps.other = lambda: inner(race)
    race.steps.left = step
    outer(race)
    if race.steps.left is not None:
        return False
    assert len(race.fired) <= 2  # what was armed before, and what was armed in between
    finish(race)
    return True


def finish(race: Race) -> None:
    """Check what comes after the race, when the driver alone is left."""
    timer, queue = race.timer, race.queue
    when = timer.when if timer.armed else None
    if when is None:
        assert queue.wake(100.0) == []
        return
    assert race.awake or queue.stored <= max(when, NOW), "the driver oversleeps"
    if when > NOW:
        assert queue.wake(math.nextafter(when, 0)) == []
        wakeup = queue.next_wakeup()
        assert wakeup is not None
        assert wakeup <= when
    assert queue.wake(max(when, NOW)) == [timer]
    assert queue.wake(100.0) == []


class RacedLanes(dict[Any, Any]):
    """The table of lanes, with a step before and after each removal."""

    steps: Steps

    def __delitem__(self, key: Any) -> None:
        self.steps.step()
        super().__delitem__(key)
        self.steps.step()


@pytest.mark.parametrize("at", range(12))
def test_a_timer_started_while_its_lane_is_let_go_of_is_not_lost(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers_module, "MOST_IDLE_LANES", 0)
    race = Race()
    race.queue._lanes = lanes = RacedLanes(race.queue._lanes)
    lanes.steps = race.steps
    race.steps.other = lambda: race.timer.start(race.lane, NOW)
    race.steps.left = at
    race.drive()
    if race.steps.left is not None:
        race.steps.left = None
        race.timer.start(race.lane, NOW)
    finish(race)
