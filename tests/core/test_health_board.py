"""Statuses against a model, and watchers that hear the newest, never the same twice in a row, and the end last."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grpc_heartbeat.core.frames import ServingStatus
from grpc_heartbeat.core.health_board import END, SERVICE_UNKNOWN, Changes, Statuses, WatchSlot, WatchTable

NAMES = st.sampled_from(["", "liveness", "readiness", "orders", "stock"])
STATUSES = st.sampled_from(ServingStatus)
SERVING, NOT_SERVING, UNKNOWN = ServingStatus.SERVING, ServingStatus.NOT_SERVING, ServingStatus.UNKNOWN
WHOLE = {"", "liveness", "readiness"}


class StatusesAgainstModel(RuleBasedStateMachine):
    """The model computes every status from all that was said, each time anew; changes must be its differences."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses = Statuses()
        self.said = dict.fromkeys(WHOLE, SERVING)
        self.checks: dict[str, tuple[set[str], ServingStatus]] = {}
        self.drained: set[str] | None = None
        self.seen = self.statuses.all()

    def model(self, name: str) -> ServingStatus:
        group = WHOLE if name in {"", "readiness"} else {name}
        found = [self.said[member] for member in group]
        found += [status for names, status in self.checks.values() if names & group]
        return max(found, key=[SERVING, UNKNOWN, NOT_SERVING].index)

    def apply(self, changes: Changes) -> None:
        now = self.statuses.all()
        assert changes == {name: status for name, status in now.items() if self.seen.get(name) is not status}
        self.seen = now

    @rule(name=NAMES, status=STATUSES)
    def say(self, name: str, status: ServingStatus) -> None:
        self.said[name] = status
        self.apply(self.statuses.set(name, status))

    @rule(check=st.sampled_from("ab"), names=st.sets(NAMES, min_size=1), status=STATUSES)
    def check(self, check: str, names: set[str], status: ServingStatus) -> None:
        self.checks[check] = (names, status)
        for name in names:
            self.said.setdefault(name, SERVING)
        self.apply(self.statuses.check(check, names, status))

    @rule(check=st.sampled_from("ab"))
    def forget(self, check: str) -> None:
        self.checks.pop(check, None)
        self.apply(self.statuses.forget_check(check))

    @precondition(lambda self: len(self.said) > 4)
    @rule()
    def drain(self) -> None:
        self.drained = self.drained or set(self.said)
        self.apply(self.statuses.drain())

    @invariant()
    def every_status_is_the_models(self) -> None:
        if self.drained is None:
            expected = {name: self.model(name) for name in self.said}
        else:
            expected = dict.fromkeys(self.drained, NOT_SERVING)
        assert self.statuses.all() == expected
        assert self.statuses.drained == (self.drained is not None)
        assert self.statuses.status("nobody") is None


TestStatuses = StatusesAgainstModel.TestCase


class SlotAgainstReader(RuleBasedStateMachine):
    """A sender that is started when the slot asks for it and takes one item at a time, as slowly as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = WatchSlot()
        self.running = False
        self.said: int | None = None
        self.ending = self.ended = False
        self.heard: list[int] = []

    def start(self, asked: bool) -> None:
        assert not (asked and self.running)
        self.running = self.running or asked

    @rule(status=st.integers(0, 3))
    def offer(self, status: int) -> None:
        self.said = status
        self.start(self.slot.offer(status))

    @rule()
    def end(self) -> None:
        self.ending = True
        self.start(self.slot.end())

    @precondition(lambda self: self.running and not self.ended)
    @rule()
    def take(self) -> None:
        item = self.slot.take()
        if item is None:
            self.running = False
        elif item is END:
            self.ended = True
        else:
            assert item == self.said
            self.heard.append(item)

    @invariant()
    def nothing_is_lost_or_repeated(self) -> None:
        assert all(one != other for one, other in itertools.pairwise(self.heard))
        if not self.running or self.ended:
            assert self.heard[-1:] == ([] if self.said is None else [self.said]) or self.ended
            assert self.ended or not self.ending


TestSlot = SlotAgainstReader.TestCase


def test_a_table_tells_those_who_watch_a_name() -> None:
    table = WatchTable()
    first, second, other = WatchSlot(), WatchSlot(), WatchSlot()
    assert table.add("orders", first, None)
    assert table.add("orders", second, SERVING)
    assert table.add("stock", other, SERVING)
    assert [slot.take() for slot in (first, second, other)] == [SERVICE_UNKNOWN, 1, 1]
    assert [slot.take() for slot in (first, second, other)] == [None, None, None]
    assert table.tell("orders", SERVING) == [first]
    assert table.tell("nobody", SERVING) == []
    assert len(table) == 3
    table.drop("orders", first)
    table.drop("orders", first)
    table.drop("stock", other)
    assert table.tell("orders", NOT_SERVING) == [second]
    assert len(table) == 1
    assert set(table._slots) == {"orders"}, "strangers choose the names, so none may stay behind"


def test_a_table_that_ends_starts_those_that_rest() -> None:
    table = WatchTable()
    resting, sending = WatchSlot(), WatchSlot()
    for slot in (resting, sending):
        table.add("orders", slot, SERVING)
        slot.take()
    assert resting.take() is None
    assert table.end() == [resting]
    assert table.over
    assert resting.take() is sending.take() is END


@given(st.lists(st.tuples(NAMES, STATUSES), max_size=20))
def test_after_a_drain_nothing_that_is_said_changes_anything(said: list[tuple[str, ServingStatus]]) -> None:
    statuses = Statuses()
    statuses.drain()
    before = statuses.all()
    for name, status in said:
        assert statuses.set(name, status) == {}
        assert statuses.check("it", [name], status) == {}
        assert statuses.forget_check("it") == {}
        assert statuses.drain() == {}
    assert statuses.all() == before


def test_a_drain_in_the_middle_of_what_is_said_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = Statuses()
    statuses.set("orders", NOT_SERVING)
    worst = statuses._worst

    def interrupted(name: str) -> ServingStatus:
        found = worst(name)
        statuses.drain()
        return found

    monkeypatch.setattr(statuses, "_worst", interrupted)
    assert statuses.set("orders", SERVING) == {}
    assert set(statuses.all().values()) == {NOT_SERVING}
