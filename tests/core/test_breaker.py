"""The breaker: each effect once, nothing from older generations, and always a way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grpc_heartbeat.config import BreakerPolicy
from grpc_heartbeat.core.breaker import (
    Breaker,
    BreakerClosed,
    BreakerOpened,
    BreakerProbing,
    BreakerState,
    Probe,
    ProbeOutcome,
)
from grpc_heartbeat.core.events import Event

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
OK, FAILED, CANCELLED = ProbeOutcome.OK, ProbeOutcome.FAILED, ProbeOutcome.CANCELLED
POLICY = BreakerPolicy(open_min=1.0, open_max=4.0)


def breaker(**options: Any) -> Breaker:
    return Breaker(replace(POLICY, **options), lambda: 0.5, 100.0)


def opened(**options: Any) -> Breaker:
    made = breaker(**options)
    made.convict(0, 100.0, "no echo for 3 s")
    made.take_events()
    return made


def test_misses_in_a_row_open_it_and_an_echo_starts_the_row_anew() -> None:
    it = breaker()
    for at in (101.0, 102.0):
        it.missed(0, at)
    assert (it.snapshot.misses, it.snapshot.closed) == (2, True)
    it.acked(0, 103.0)
    assert it.snapshot.misses == 0
    for at in (104.0, 105.0, 106.0):
        it.missed(0, at)
    assert it.snapshot.state is OPEN
    assert it.take_events() == [BreakerOpened(106.0, 1, "3 beats in a row not echoed", 1.0, False)]
    assert it.next_wakeup() == 107.0


def test_one_dead_connection_opens_it_once_whoever_tells() -> None:
    it = breaker()
    for at in range(10):
        it.missed(0, 100.0 + at)
        it.convict(0, 100.0 + at, "no echo for 3 s")
    it.convict(0, 111.0, "again")
    assert len(it.take_events()) == 1
    assert it.generation == 1


def test_the_way_back() -> None:
    it = opened()
    assert it.probe(100.9) is None
    assert it.probe(101.0) == Probe(1, 1)
    assert it.take_events() == [BreakerProbing(101.0, 1)]
    assert it.probe(101.0) is None
    assert it.snapshot.state is HALF_OPEN
    it.probed(Probe(1, 1), OK, 101.1)
    (closed,) = it.take_events()
    assert isinstance(closed, BreakerClosed)
    assert closed.open_for == pytest.approx(1.1)
    assert (it.snapshot.closed, it.snapshot.opened, it.snapshot.opened_at) == (True, 1, None)
    assert it.next_wakeup() is None


def test_probes_that_fail_wait_longer_and_longer_until_one_succeeds() -> None:
    it, now, pauses = opened(), 100.0, []
    for number in range(1, 6):
        retry_at = it.next_wakeup()
        assert retry_at is not None
        pauses.append(retry_at - now)
        now = retry_at
        it.wake(now)
        probe = Probe(number, number)
        assert it.probe(now) == probe
        it.probed(probe, FAILED, now)
        assert isinstance(it.take_events()[-1], BreakerOpened)
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    assert (it.snapshot.opened, it.snapshot.opened_at, it.snapshot.why) == (1, 100.0, "the probe was not echoed")
    it.wake(now + 4.0)
    it.acked(it.generation, now + 4.0)
    assert it.snapshot.closed
    it.convict(it.generation, now + 5.0, "why")
    assert it.next_wakeup() == now + 6.0
    assert it.snapshot.opened == 2


def test_a_probe_that_is_given_up_leaves_its_place_and_counts_for_nothing() -> None:
    it = opened()
    first = it.probe(101.0)
    assert first is not None
    it.probed(first, CANCELLED, 101.5)
    assert it.snapshot.state is HALF_OPEN
    second = it.probe(102.0)
    assert second is not None
    it.probed(first, FAILED, 102.0)
    assert it.snapshot.state is HALF_OPEN
    it.probed(second, OK, 102.0)
    assert it.snapshot.closed


def test_as_many_successes_as_the_policy_says() -> None:
    it = opened(successes=3)
    for number in (1, 2):
        probe = it.probe(101.0)
        assert probe is not None
        assert probe == Probe(1, number)
        assert it.probe(101.0) is None, "one at a time"
        it.probed(probe, OK, 101.0)
        assert not it.snapshot.closed
    it.acked(1, 102.0)
    assert it.snapshot.closed


def test_successes_of_an_older_try_do_not_count() -> None:
    it = opened(successes=2)
    it.wake(101.0)
    it.acked(1, 101.1)
    it.convict(1, 101.2, "silent again")
    it.wake(110.0)
    it.acked(2, 110.1)
    assert not it.snapshot.closed
    it.acked(2, 110.2)
    assert it.snapshot.closed


def test_a_single_miss_opens_a_half_open_breaker() -> None:
    it = opened()
    it.wake(101.0)
    it.missed(1, 101.5, "not written")
    assert (it.snapshot.state, it.snapshot.why, it.generation) == (OPEN, "1 beat in a row not written", 2)


def test_reports_of_an_older_connection_change_nothing() -> None:
    it = opened()
    probe = it.probe(101.0)
    assert probe is not None
    before = it.snapshot
    for at in (101.0, 102.0, 103.0):
        it.acked(0, at)
        it.missed(0, at)
        it.convict(0, at, "late news")
    assert it.snapshot == before
    it.convict(1, 104.0, "it died again")
    it.probed(probe, OK, 104.0)
    assert it.snapshot.state is OPEN


def test_a_refusal_says_since_when_why_and_what_next() -> None:
    it = opened()
    assert it.refusal(100.5) == (
        "the heartbeat breaker has been open for 0.5 s (no echo for 3 s); it is probed again in 0.5 s"
    )
    it.wake(101.0)
    assert (
        it.refusal(101.5) == "the heartbeat breaker has been open for 1.5 s (no echo for 3 s); it is being probed now"
    )


@given(st.lists(st.floats(0, 0.999), min_size=5, max_size=5))
def test_pauses_are_spread_and_end_in_time_for_a_peer_that_comes_back(randoms: list[float]) -> None:
    """With the defaults a probe is made within 1.2 s of the last, so that a channel is usable within two seconds."""
    numbers = iter(randoms)
    it, now = Breaker(BreakerPolicy(), lambda: next(numbers), 0.0), 0.0
    it.convict(0, now, "why")
    for _ in range(4):
        retry_at = it.next_wakeup()
        assert retry_at is not None
        assert 0.08 - 1e-9 <= retry_at - now <= 1.2 + 1e-9
        now = retry_at
        probe = it.probe(now)
        assert probe is not None
        it.probed(probe, FAILED, now)


class BreakerAgainstStory(RuleBasedStateMachine):
    """Any reports in any order, from any generation."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = BreakerPolicy(misses=2, open_min=1.0, open_max=2.0, successes=2)
        self.breaker = Breaker(self.policy, lambda: 0.5, 0.0)
        self.now = 0.0
        self.events: list[Event] = []
        self.probes: list[Probe] = []
        self.ended: set[Probe] = set()
        self.last: BreakerOpened | BreakerProbing | BreakerClosed | None = None
        self.generation = 0

    @rule(seconds=st.floats(0, 3))
    def wake(self, seconds: float) -> None:
        self.now += seconds
        self.breaker.wake(self.now)
        retry_at = self.breaker.next_wakeup()
        assert retry_at is None or retry_at > self.now

    @rule(age=st.integers(0, 2))
    def ack(self, age: int) -> None:
        self.report(age, lambda generation: self.breaker.acked(generation, self.now))

    @rule(age=st.integers(0, 2))
    def miss(self, age: int) -> None:
        self.report(age, lambda generation: self.breaker.missed(generation, self.now))

    @rule(age=st.integers(0, 2))
    def convict(self, age: int) -> None:
        self.report(age, lambda generation: self.breaker.convict(generation, self.now, "why"))
        assert age or not self.breaker.snapshot.closed

    def report(self, age: int, tell: Any) -> None:
        before = self.breaker.snapshot
        tell(before.generation - age)
        if age:
            assert self.breaker.snapshot is before

    @rule()
    def probe(self) -> None:
        probe = self.breaker.probe(self.now)
        if probe is not None:
            assert probe not in self.probes
            self.probes.append(probe)
            current = [one for one in self.probes if one.generation == probe.generation and one not in self.ended]
            assert len(current) == 1

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), outcome=st.sampled_from(ProbeOutcome))
    def probed(self, data: st.DataObject, outcome: ProbeOutcome) -> None:
        probe = data.draw(st.sampled_from(self.probes))
        before = self.breaker.snapshot
        self.breaker.probed(probe, outcome, self.now)
        if probe in self.ended or probe.generation != before.generation or outcome is CANCELLED:
            assert self.breaker.snapshot is before
        elif outcome is FAILED and before.state is HALF_OPEN:
            assert self.breaker.snapshot.state is OPEN
        self.ended.add(probe)

    @invariant()
    def the_story_has_no_gaps(self) -> None:
        for event in self.breaker.take_events():
            before, self.last = self.last, event  # type: ignore[assignment]  # a breaker tells of nothing else
            if isinstance(event, BreakerOpened):
                assert event.again == isinstance(before, BreakerProbing)
                assert event.generation == self.generation + 1
                self.generation = event.generation
            elif isinstance(event, BreakerProbing):
                assert isinstance(before, BreakerOpened)
                assert event.generation == self.generation
            else:
                assert isinstance(event, BreakerClosed)
                assert isinstance(before, BreakerProbing)
        states: dict[Any, BreakerState] = {BreakerOpened: OPEN, BreakerProbing: HALF_OPEN}
        now = self.breaker.snapshot
        assert now.state is states.get(type(self.last), CLOSED)
        assert (now.opened_at is None) == now.closed
        assert (now.retry_at is not None) == (now.state is OPEN)
        assert now.generation == self.generation
        assert now.misses < self.policy.misses or not now.closed


TestBreaker = BreakerAgainstStory.TestCase


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"misses": 0}, ValueError, "BreakerPolicy.misses must be at least 1; got 0"),
        ({"probe_timeout": 0}, ValueError, "BreakerPolicy.probe_timeout must be more than 0"),
        ({"successes": True}, TypeError, "BreakerPolicy.successes must be an integer, not bool"),
        ({"open_min": 0}, ValueError, "BreakerPolicy.open_min must be more than 0"),
        ({"open_min": 2.0}, ValueError, "BreakerPolicy.open_max must be at least 2"),
        ({"when_open": "retry"}, ValueError, "BreakerPolicy.when_open must be 'fail' or 'wait'; got 'retry'"),
    ],
)
def test_bad_values_are_named(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BreakerPolicy(**options)
