"""A pool's picks, probes and rebuilds, in virtual time."""

from __future__ import annotations

import math
from collections import Counter
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grpc_heartbeat.config import PoolPolicy
from grpc_heartbeat.core.pool import Outcome, Pool, PoolMember

ANSWERED, UNANSWERED, UNKNOWN = Outcome.ANSWERED, Outcome.UNANSWERED, Outcome.UNKNOWN


def make(size: int = 4, idle: float = 60.0, timeout: float = 1.0) -> Pool[int]:
    numbers = count()
    return Pool(PoolPolicy(size, idle, timeout), lambda: next(numbers))


def call(pool: Pool[int], now: float, outcome: Outcome = ANSWERED) -> int:
    member = pool.pick(now)
    pool.done(member, now, outcome)
    return member.held


def silence(pool: Pool[int], now: float) -> None:
    """Have every probe that is due go unanswered."""
    for member in pool.due(now):
        pool.probed(member, now + 1, answered=False)


def test_calls_one_after_the_other_need_one_connection() -> None:
    pool = make()
    assert {call(pool, float(at)) for at in range(10)} == {0}
    assert pool.snapshot(9.0).connections == 1
    assert pool.snapshot(9.0).reuse_rate == 0.9


def test_calls_at_a_time_spread_over_all_members_and_then_double_up() -> None:
    pool = make()
    picked = [pool.pick(0.0) for _ in range(9)]
    assert sorted(Counter(member.held for member in picked).values()) == [2, 2, 2, 3]
    assert [member.held for member in picked[:4]] == [0, 1, 2, 3]


def test_the_least_loaded_is_picked_and_ties_rotate() -> None:
    pool = make(size=3)
    first = [pool.pick(0.0) for _ in range(3)]
    for member in first:
        pool.done(member, 0.0, ANSWERED)
    assert [call(pool, 1.0) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    held = pool.pick(2.0)
    assert held.held == 0
    assert [call(pool, 2.0) for _ in range(4)] == [1, 2, 1, 2]


def test_a_member_is_probed_in_time_before_it_has_been_idle_for_too_long() -> None:
    pool = make()
    assert pool.next_wakeup() is None
    call(pool, 100.0)
    assert pool.next_wakeup() == 159.0
    assert pool.due(158.9) == []
    (member,) = pool.due(159.0)
    assert pool.due(159.0) == []
    assert pool.next_wakeup() is None
    pool.probed(member, 159.01, answered=True)
    assert pool.next_wakeup() == pytest.approx(218.01)
    assert call(pool, 218.0) == 0
    assert pool.snapshot(218.0).probes == 1


def test_a_silent_member_is_stale_and_rebuilt_by_the_next_call() -> None:
    pool = make(size=1)
    call(pool, 0.0)
    silence(pool, 59.0)
    found = pool.snapshot(60.0)
    assert (found.stale, found.silent, found.live, found.rebuilds) == (1, 1, 0, 0)
    assert call(pool, 60.0) == 1
    assert [member.held for member in pool.take_retired()] == [0]
    found = pool.snapshot(60.0)
    assert (found.stale, found.rebuilds, found.live, found.reused) == (0, 1, 1, 0)


def test_a_live_member_without_calls_is_preferred_to_rebuilding_a_stale_one() -> None:
    pool = make(size=2)
    pair = [pool.pick(0.0), pool.pick(0.0)]
    for member in pair:
        pool.done(member, 0.0, ANSWERED)
    one, other = pool.due(59.0)
    pool.probed(one, 60.0, answered=False)
    pool.probed(other, 60.0, answered=True)
    assert {call(pool, 61.0) for _ in range(5)} == {other.held}
    busy = pool.pick(62.0)
    assert busy is other
    assert call(pool, 62.0) == 2  # an idle connection is worth rebuilding when the live one is busy


def test_a_retired_member_is_closed_when_its_last_call_has_ended() -> None:
    pool = make(size=1)
    streams = [pool.pick(0.0), pool.pick(0.0)]
    silence(pool, 59.0)
    assert call(pool, 60.0) == 1
    assert pool.take_retired() == []
    assert pool.snapshot(60.0).in_flight == 2
    pool.done(streams[0], 61.0, ANSWERED)
    assert pool.take_retired() == []
    pool.done(streams[1], 62.0, UNANSWERED)
    assert [member.held for member in pool.take_retired()] == [0]
    assert pool.take_retired() == []
    assert not pool.retired


def test_an_unanswered_call_has_its_member_probed_at_once_and_others_preferred() -> None:
    pool = make(size=2)
    pair = [pool.pick(0.0), pool.pick(0.0)]
    for member in pair:
        pool.done(member, 0.0, ANSWERED)
    doubted = pool.pick(5.0)
    pool.done(doubted, 7.0, UNANSWERED)
    assert pool.next_wakeup() == -math.inf
    assert pool.snapshot(7.0).live == 1
    assert {call(pool, 7.0) for _ in range(3)} == {1 - doubted.held}
    busy = pool.pick(7.0)
    assert busy.held == 1 - doubted.held
    assert pool.pick(7.0) is busy  # with any load
    assert pool.due(7.0) == [doubted]
    pool.probed(doubted, 7.1, answered=True)
    assert pool.pick(7.2) is doubted


def test_a_shunned_member_is_given_calls_only_where_there_is_no_other() -> None:
    pool = make(size=2)
    pair = [pool.pick(0.0), pool.pick(0.0)]
    for member in pair:
        pool.done(member, 0.0, ANSWERED)
    pair[0].shunned = True
    assert pool.snapshot(1.0).live == 1
    busy = [pool.pick(1.0) for _ in range(3)]
    assert busy == [pair[1]] * 3
    pair[1].shunned = True
    assert pool.pick(1.0) is pair[0]
    assert (pool.due(1.0), pool.snapshot(1.0).rebuilds) == ([], 0)


def test_calls_that_fail_soon_after_a_sign_of_life_raise_no_doubt() -> None:
    pool = make(size=1)
    call(pool, 10.0)
    call(pool, 10.9, UNANSWERED)
    call(pool, 30.0, UNKNOWN)
    assert pool.due(30.0) == []


def test_a_peer_that_is_down_is_tried_less_and_less_often() -> None:
    pool = make(size=1)
    now, rebuilt = 0.0, []
    while now < 400.0:
        before = pool.snapshot(now).rebuilds
        call(pool, now, UNANSWERED)
        if pool.snapshot(now).rebuilds > before:
            rebuilt.append(now)
        for member in pool.due(now):
            pool.probed(member, now, answered=False)
        now += 0.25
    pauses = [round(later - earlier, 2) for earlier, later in pairwise(rebuilt)]
    assert pauses == sorted(pauses)
    assert 58 <= pauses[-1] <= 61
    assert len(rebuilt) < 15


def test_after_a_long_stop_one_member_is_rebuilt_and_the_probes_tell_of_the_others() -> None:
    pool = make(size=2)
    pair = [pool.pick(0.0), pool.pick(0.0)]
    for member in pair:
        pool.done(member, 0.0, ANSWERED)
    assert pool.snapshot(1000.0).live == 0
    assert call(pool, 1000.0) == 2
    assert call(pool, 1000.0) == 2  # no second one is rebuilt while the first is there
    (late,) = pool.due(1000.0)
    pool.probed(late, 1000.5, answered=True)
    assert pool.snapshot(1001.0).live == 2
    assert pool.snapshot(1001.0).rebuilds == 1


def test_a_probe_during_which_this_process_stood_still_is_repeated() -> None:
    pool = make(size=1)
    call(pool, 0.0)
    (member,) = pool.due(59.0)
    pool.probed(member, 70.0, answered=False, excused=9.0)
    assert pool.snapshot(70.0).stale == 0
    assert pool.due(70.0) == [member]
    pool.probed(member, 71.0, answered=False)
    assert pool.snapshot(71.0).stale == 1


def test_a_probe_of_a_replaced_member_changes_nothing() -> None:
    pool = make(size=1)
    call(pool, 0.0)
    (old,) = pool.due(100.0)
    assert call(pool, 100.0) == 1
    pool.probed(old, 101.0, answered=False)
    pool.probed(old, 101.0, answered=False)
    found = pool.snapshot(101.0)
    assert (found.live, found.stale, found.silent) == (1, 0, 1)


class PoolAgainstPeers(RuleBasedStateMachine):
    """Calls, silences and answers in any order; the pool sees them only through reports."""

    SIZE, IDLE, TIMEOUT = 3, 10.0, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.pool: Pool[int] = Pool(PoolPolicy(self.SIZE, self.IDLE, self.TIMEOUT), self.hold)
        self.now = 0.0
        self.calls: list[PoolMember[int]] = []
        self.probes: list[PoolMember[int]] = []
        self.seen: dict[int, float] = {}
        self.silent: set[int] = set()
        self.used: set[int] = set()
        self.closed: list[int] = []

    def hold(self) -> int:
        self.made += 1
        return self.made

    @rule(seconds=st.floats(0.0, 12.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pick(self) -> None:
        trusted = [
            member.in_flight
            for member in self.pool.members
            if not (member.stale or member.doubted) and self.now < member.seen + self.IDLE
        ]
        member = self.pool.pick(self.now)
        assert member.held not in self.silent
        assert member.held not in self.closed
        if member.held in self.used:
            assert self.now < self.seen[member.held] + self.IDLE
        else:
            self.seen[member.held] = self.now
        if trusted and not member.doubted:
            assert member.in_flight - 1 <= min(trusted)
        self.used.add(member.held)
        self.calls.append(member)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        member = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.pool.done(member, self.now, outcome)
        if outcome is ANSWERED:
            self.seen[member.held] = self.now

    @rule()
    def probe(self) -> None:
        due = self.pool.due(self.now)
        for member in due:
            assert member.held in self.used
            assert member.held not in self.silent
            assert member not in self.probes
        self.probes += due
        wakeup = self.pool.next_wakeup()
        assert wakeup is None or wakeup > self.now

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), answered=st.booleans(), excused=st.sampled_from([0.0, 0.0, 2.0]))
    def answer(self, data: st.DataObject, answered: bool, excused: float) -> None:
        member = self.probes.pop(data.draw(st.integers(0, len(self.probes) - 1)))
        self.pool.probed(member, self.now, answered, excused)
        if answered:
            self.seen[member.held] = self.now
        elif not excused:
            self.silent.add(member.held)

    @rule()
    def close_retired(self) -> None:
        for member in self.pool.take_retired():
            assert member not in self.calls
            assert member.held not in self.closed
            self.closed.append(member.held)

    @invariant()
    def counts_agree(self) -> None:
        found = self.pool.snapshot(self.now)
        assert found.in_flight == len(self.calls)
        assert found.calls >= found.reused
        assert found.silent == len(self.silent)
        assert found.rebuilds == self.made - self.SIZE
        assert found.connections == len(self.used)
        assert found.unused + found.live + found.stale <= self.SIZE
        seated = {member.held for member in self.pool.members}
        waiting = {member.held for member in self.pool.retired}
        assert all(member.held in seated | waiting for member in self.calls)
        assert not seated & (waiting | set(self.closed))


TestPool = PoolAgainstPeers.TestCase


@given(st.integers(1, 6), st.lists(st.booleans(), max_size=60))
def test_the_load_is_even_within_one_call(size: int, story: list[bool]) -> None:
    """As long as all answer: starting calls never makes the loads differ by more than the calls that ended elsewhere."""
    pool = make(size=size)
    loads = [0] * size
    calls: list[PoolMember[int]] = []
    for starts in story:
        if starts or not calls:
            member = pool.pick(0.0)
            assert loads[member.seat] == min(loads)
            loads[member.seat] += 1
            calls.append(member)
        else:
            member = calls.pop(0)
            loads[member.seat] -= 1
            pool.done(member, 0.0, ANSWERED)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "PoolPolicy.size must be at least 1; got 0"),
        ({"size": 1001}, ValueError, "PoolPolicy.size must be at most 1000; got 1001"),
        ({"size": 2.0}, TypeError, "PoolPolicy.size must be an integer, not float"),
        ({"idle": 0}, ValueError, "PoolPolicy.idle must be more than 0"),
        (
            {"idle": 2.0, "timeout": 1.5},
            ValueError,
            r"PoolPolicy.timeout \(1.5 s\) must be at most half of idle \(2 s\)",
        ),
        ({"timeout": "1"}, TypeError, "PoolPolicy.timeout must be a number of seconds, not str"),
    ],
)
def test_bad_values_are_named(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PoolPolicy(**options)


def test_the_default_limit_on_a_probe_fits_a_short_idleness() -> None:
    assert PoolPolicy().probe_timeout == 1.0
    assert PoolPolicy(idle=0.5).probe_timeout == 0.25
