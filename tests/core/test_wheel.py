"""The wheel: nobody is woken early, late by more than its grain, twice, or not at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grpc_heartbeat.core.wheel import BASE, COARSEST, Member, Wheel, grain_of


class Sleeper(Member):
    __slots__ = ("due", "grain")

    def __init__(self, grain: int = 1) -> None:
        self.slot = None
        self.grain = grain
        self.due = math.inf


@pytest.mark.parametrize(("interval", "grain"), [(0.01, 1), (0.2, 2), (0.5, 5), (1.0, 10), (60.0, COARSEST)])
def test_the_grain_is_a_twentieth_of_the_interval(interval: float, grain: int) -> None:
    assert grain_of(interval) == grain


def test_members_of_one_slot_wake_up_together_and_those_of_coarse_slots_with_finer_ones() -> None:
    wheel = Wheel()
    coarse, fine, later = Sleeper(COARSEST), Sleeper(), Sleeper()
    assert wheel.add(coarse, 1.001)
    assert not wheel.add(fine, 1.0499)
    assert not wheel.add(later, 1.0501)
    assert wheel.next_wakeup() == pytest.approx(1.05)
    assert wheel.wake(1.0499) == []
    assert wheel.wake(1.05) == [coarse, fine]
    assert wheel.wake(9.0) == [later]
    assert wheel.next_wakeup() is None


def test_places_that_were_left_are_cleared_away_while_others_stay() -> None:
    wheel = Wheel()
    stays = Sleeper()
    wheel.add(stays, 50.0)
    for turn in range(10):
        gone = [Sleeper() for _ in range(1_000)]
        for number, sleeper in enumerate(gone):
            wheel.add(sleeper, 60.0 + number % 7)
            if turn % 2:
                wheel.add(sleeper, 40.0)
        for sleeper in gone:
            wheel.remove(sleeper)
    assert wheel.members == 1
    assert len(wheel) < 100
    assert wheel.wake(100.0) == [stays]
    assert len(wheel) == 0


def test_a_member_that_is_moved_to_and_fro_does_not_wake_twice() -> None:
    wheel, member = Wheel(), Sleeper()
    wheel.add(member, 2.0)
    wheel.add(member, 1.0)
    assert wheel.wake(1.0) == [member]
    wheel.add(member, 2.0)
    assert wheel.wake(2.0) == [member]
    assert len(wheel) == 0


def test_what_the_last_member_left_behind_is_no_slot_in_use() -> None:
    """Else whoever comes next is not the first, and nobody sets an alarm for it."""
    wheel, member = Wheel(), Sleeper()
    wheel.add(member, 5.0)
    wheel.add(member, 1.0)
    assert wheel.wake(1.0) == [member]
    assert wheel.next_wakeup() is None
    assert wheel.add(member, 9.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, COARSEST)), min_size=1, max_size=50))
def test_nobody_is_early_nor_later_than_its_grain(wanted: list[tuple[float, int]]) -> None:
    wheel = Wheel()
    for due, grain in wanted:
        member = Sleeper(grain)
        member.due = due
        wheel.add(member, due)
    woken = 0
    while (now := wheel.next_wakeup()) is not None:
        for awake in wheel.wake(now):
            assert isinstance(awake, Sleeper)
            woken += 1
            assert -1e-9 <= now - awake.due <= awake.grain * BASE + 1e-9
    assert woken == len(wanted)


class WheelMachine(RuleBasedStateMachine):
    """Against the simplest thing that could be right: a dictionary of members and when they are to be woken at the latest."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = Wheel()
        self.now = 0.0
        self.members = [Sleeper(1 + 3 * (index % 4)) for index in range(6)]
        self.wanted: dict[Sleeper, float] = {}

    @rule(index=st.integers(0, 5), ahead=st.floats(0, 5))
    def add(self, index: int, ahead: float) -> None:
        member, before = self.members[index], self.wheel.next_wakeup()
        earlier = self.wheel.add(member, self.now + ahead)
        after = self.wheel.next_wakeup()
        assert after is not None
        assert earlier == (before is None or after < before)
        self.wanted[member] = min(self.wanted.get(member, math.inf), self.now + ahead)

    @rule(index=st.integers(0, 5))
    def remove(self, index: int) -> None:
        self.wheel.remove(self.members[index])
        self.wanted.pop(self.members[index], None)

    @rule(ahead=st.floats(0, 3))
    def pass_time(self, ahead: float) -> None:
        self.now += ahead
        awake = self.wheel.wake(self.now)
        assert len(awake) == len(set(awake))
        for member in awake:
            assert isinstance(member, Sleeper)
            assert self.wanted.pop(member) <= self.now + 1e-9
        assert self.wheel.members == len(self.wanted)
        assert set(self.wheel.queued()) == set(self.wanted)
        for member, due in self.wanted.items():
            assert due + member.grain * BASE > self.now - 1e-9

    @invariant()
    def who_is_wanted_is_queued(self) -> None:
        wakeup = self.wheel.next_wakeup()
        for due in self.wanted.values():
            assert wakeup is not None
            assert wakeup <= due + COARSEST * BASE + 1e-9


TestWheel = WheelMachine.TestCase
