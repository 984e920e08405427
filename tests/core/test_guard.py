"""The judge of a call: in virtual time, whatever happens in whatever order, a call ends iff a wait really lasted its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.guard import DOUBT, Ending, Guard, Stage
from grpc_heartbeat.core.limits import UNLIMITED, Limits

START = 1000.0
FOREVER = 1e9
_FIELD = {"idle": "reading_since", "write": "writing_since"}


@dataclass(frozen=True)
class Wait:
    layer: str
    since: float
    until: float


@dataclass(frozen=True)
class History:
    """What happens to a call, as instants: all sums of sixteenths, so that floats are exact."""

    connected: float
    accepted: float
    waits: tuple[Wait, ...]
    over: float

    def late(self, limits: Limits) -> tuple[float, set[str]] | None:
        """Return when the first wait lasts its limit, and the layers for which that is so; ``None`` when none does."""
        stages = [Wait("connect", START, self.connected), Wait("header", self.connected, self.accepted)]
        found: dict[float, set[str]] = {}
        for wait in (*stages, *self.waits):
            limit = getattr(limits, wait.layer)
            since = wait.since if wait.layer == "connect" else max(wait.since, self.connected)
            if limit is not None and since + limit < min(wait.until, self.over):
                found.setdefault(since + limit, set()).add(wait.layer)
        first = min(found, default=None)
        return None if first is None else (first, found[first])


ticks = st.integers(1, 80).map(lambda sixteenths: sixteenths / 16)
optional = st.none() | ticks
limits_given = st.builds(Limits, connect=optional, header=optional, idle=optional, write=optional)


@st.composite
def histories(draw: st.DrawFn) -> History:
    connected = draw(st.just(START) | st.just(FOREVER) | ticks.map(lambda after: START + after))
    accepted = draw(st.just(FOREVER) | ticks.map(lambda after: connected + after))
    waits = []
    for layer in ("idle", "write"):
        at = START
        for pause, length in draw(st.lists(st.tuples(ticks, ticks | st.just(FOREVER)), max_size=4)):
            waits.append(Wait(layer, at + pause, at + pause + length))
            at += pause + length
    return History(connected, accepted, tuple(waits), START + draw(ticks) * 4)


class Driver:
    """Lets the events of a history happen and checks a guard when it asks, ``lag`` later."""

    def __init__(self, limits: Limits, history: History, lag: Callable[[], float] = lambda: 0.0) -> None:
        self.guard = Guard(limits, START, history.connected == START)
        self._lag = lag
        self._events = sorted(self._all(history), key=lambda event: event[0])
        self._check_at: float | None = None
        self.checks = 0

    def _all(self, history: History) -> list[tuple[float, Callable[[float], None]]]:
        events: list[tuple[float, Callable[[float], None]]] = []
        if history.connected != START:
            events.append((history.connected, self._connected))
        events.append((history.accepted, lambda now: self.guard.accepted()))
        for wait in history.waits:
            events.append((wait.since, partial(self._wait, wait.layer)))
            events.append((wait.until, partial(self._wait_over, wait.layer)))
        return [event for event in events if event[0] <= history.over]

    def _wait(self, layer: str, now: float) -> None:
        setattr(self.guard, _FIELD[layer], now)

    def _wait_over(self, layer: str, now: float) -> None:
        setattr(self.guard, _FIELD[layer], None)

    def _arm(self, at: float | None) -> None:
        self._check_at = None if at is None else at + self._lag()

    def _connected(self, now: float) -> None:
        self._arm(self.guard.connected(now))

    def run(self, over: float) -> tuple[float, Ending] | None:
        """Return when and how the guard ended the call, or ``None`` when it let it come to its own end."""
        self._arm(self.guard.begin())
        while True:
            event_at = self._events[0][0] if self._events else FOREVER
            check_at = FOREVER if self._check_at is None else self._check_at
            if min(event_at, check_at) >= over:
                return None
            if event_at <= check_at:
                self._events.pop(0)[1](event_at)
                continue
            self.checks += 1
            assert self.checks < 10_000, f"the guard asks again and again at {check_at}"
            found = self.guard.check(check_at)
            if isinstance(found, Ending):
                return check_at, found
            self._arm(found)


@given(limits_given, histories())
def test_a_call_ends_exactly_when_a_wait_has_lasted_its_limit(limits: Limits, history: History) -> None:
    expected = history.late(limits)
    ended = Driver(limits, history).run(history.over)
    if expected is None:
        assert ended is None
        return
    assert ended is not None
    at, ending = ended
    assert at == expected[0]
    assert ending.layer in expected[1]
    assert ending.limit == ending.elapsed == getattr(limits, ending.layer)


@given(limits_given, histories(), st.data())
def test_a_late_check_never_ends_a_call_whose_event_has_come(
    limits: Limits, history: History, data: st.DataObject
) -> None:
    lags = st.integers(0, 32).map(lambda sixteenths: sixteenths / 16)
    ended = Driver(limits, history, lambda: data.draw(lags)).run(history.over)
    if ended is None:
        return
    at, ending = ended
    stages = [Wait("connect", START, history.connected), Wait("header", history.connected, history.accepted)]
    for wait in (*stages, *history.waits):
        since = wait.since if wait.layer == "connect" else max(wait.since, history.connected)
        if wait.layer == ending.layer and since == at - ending.elapsed and at <= wait.until:
            break
    else:
        pytest.fail(f"{ending} at {at}: no wait of that layer was on for so long")
    assert ending.elapsed >= ending.limit == getattr(limits, ending.layer)


@given(limits_given, histories())
def test_looks_are_as_rare_as_the_shortest_limit(limits: Limits, history: History) -> None:
    driver = Driver(limits, history)
    driver.run(history.over)
    shortest = min((value for value in (limits.idle, limits.write) if value is not None), default=None)
    waits = len(history.waits) + 4
    assert driver.checks <= waits + (0 if shortest is None else 2 * (history.over - START) / shortest)


def test_a_call_without_limits_asks_for_nothing() -> None:
    guard = Guard(UNLIMITED, START, ready=False)
    assert guard.begin() is None
    assert guard.connected(START + 1) is None
    assert guard.check(START + 1e6) is None


def test_the_header_time_begins_with_the_connection() -> None:
    limits = Limits(connect=3.0, header=2.0, sources={"connect": "policy:a", "header": "policy:b"})
    guard = Guard(limits, START, ready=False)
    assert guard.begin() == START + 3
    assert guard.connected(START + 2.5) == START + 4.5
    assert guard.check(START + 4.4) == START + 4.5
    assert guard.check(START + 4.75) == Ending("header", 2.0, 2.25, "policy:b")


def test_a_connection_is_made_once() -> None:
    guard = Guard(Limits(header=2.0), START, ready=False)
    guard.connected(START + 1)
    assert guard.connected(START + 2) == START + 3
    guard.accepted()
    guard.connected(START + 9)
    assert guard.stage is Stage.OPEN


def test_what_the_server_accepted_is_not_waited_for() -> None:
    guard = Guard(Limits(header=2.0), START, ready=True)
    guard.accepted()
    assert guard.check(START + 100) is None


def test_a_slow_application_is_nobodys_fault() -> None:
    guard = Guard(Limits(idle=1.0, write=1.0), START, ready=True)
    guard.accepted()
    now = START
    for _ in range(10):
        now += 1.0
        assert guard.check(now) == now + 1.0
    guard.reading_since = now + 0.5
    assert guard.check(now + 1.0) == now + 1.5
    assert guard.check(now + 1.5) == Ending("idle", 1.0, 1.0, "policy")


def test_a_wait_that_began_before_the_connection_counts_from_it() -> None:
    guard = Guard(Limits(write=1.0), START, ready=False)
    guard.writing_since = START + 0.25
    assert guard.begin() is None
    assert guard.check(START + 50) is None
    assert guard.connected(START + 60) == START + 61
    assert guard.check(START + 61) == Ending("write", 1.0, 1.0, "policy")


def test_initial_metadata_without_a_connection_are_believed_when_no_status_follows() -> None:
    guard = Guard(Limits(connect=1.0, write=1.0), START, ready=False)
    assert guard.claimed(START + 1) == START + 1 + DOUBT
    assert guard.claimed(START + 1 + DOUBT / 2) == START + 1 + DOUBT
    stages = [guard.stage]
    assert guard.claimed(START + 1 + DOUBT) is None
    stages.append(guard.stage)
    assert stages == [Stage.CONNECTING, Stage.OPEN]
