"""The driver of the guard, with a connection and a server that do what the test says: late looks, belated answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from grpc_heartbeat._timers import clock
from grpc_heartbeat.channel.connection import NOWHERE
from grpc_heartbeat.channel.flight import Flight
from grpc_heartbeat.channel.layers import Layers
from grpc_heartbeat.core.guard import Stage
from grpc_heartbeat.core.limits import Limits
from grpc_heartbeat.core.wording import Verdict
from tests.peers import wait_until

LONG_AGO = 100.0
LIMITS = Limits(connect=5.0, header=5.0)


class Line:
    """A connection that is what the test says."""

    poll = None
    last_error: str | None = "an old error"
    name = ""

    def __init__(self) -> None:
        self.now: str | None = "CONNECTING"
        self.waiting: list[Any] = []
        self.answer: Callable[[str | None], None] | None = None

    def ready(self) -> bool:
        return self.now == "READY"

    def state(self) -> str | None:
        return self.now

    def rests(self) -> bool:
        return self.now == "IDLE"

    def wait(self, call: Any) -> None:
        self.waiting.append(call)

    def leave(self, call: Any) -> None:
        self.waiting.remove(call)

    def remember(self, details: str | None) -> None:
        self.last_error = details

    def ask(self, answer: Callable[[str | None], None]) -> None:
        self.answer = answer


class Call(Flight):
    """A flight that remembers how it was ended."""

    def __init__(self, line: Line, limits: Limits = LIMITS, ready: bool = False) -> None:
        super().__init__("/a/b", Layers(limits, fixed=False), clock() - LONG_AGO, line)
        self.ready = ready
        self.accepted: bool | None = False
        self.asked = 0
        self.ended: list[Verdict] = []

    def _accepted(self) -> bool | None:
        return self.accepted

    def _ask_accepted(self) -> None:
        self.asked += 1

    def _end(self, verdict: Verdict) -> None:
        self.ended.append(verdict)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def fly(line: Line) -> Iterator[Callable[..., Call]]:
    """Start flights that are looked at only when the test does it."""
    flown: list[Call] = []

    def start(limits: Limits = LIMITS, ready: bool = False) -> Call:
        call = Call(line, limits, ready)
        call.started = clock()  # so that no timer fires
        call.begin()
        call.started -= LONG_AGO
        flown.append(call)
        return call

    yield start
    for call in flown:
        call.done()


def test_a_late_look_sees_the_connection_first(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    line.now = "READY"
    call.fire()
    assert call.ended == []
    assert call.guard.stage is Stage.WAITING


def test_a_late_look_sees_the_acceptance_first(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    call.accepted = True
    call.fire()
    assert call.ended == []
    wait_until(lambda: call.guard.stage is Stage.OPEN)


def test_initial_metadata_without_a_connection_are_those_of_a_call_that_fails(
    line: Line, fly: Callable[..., Call]
) -> None:
    call = fly(limits=Limits(connect=5.0, write=5.0))
    call.guard.writing_since = clock() - LONG_AGO
    call.accepted = True  # its status follows
    call.fire()
    call.done()
    call.fire()
    assert call.ended == []
    assert call.guard.stage is Stage.CONNECTING


def test_initial_metadata_with_a_connection_are_believed_at_once(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    line.now = "READY"
    call.accepted = True
    call.fire()
    assert call.guard.stage is Stage.OPEN


def test_a_call_without_a_connection_ends_with_what_is_known(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    call.fire()
    (verdict,) = call.ended
    assert (verdict.status, verdict.facts.layer) == ("UNAVAILABLE", "connect")
    assert (verdict.facts.connectivity, verdict.facts.last_error) == ("CONNECTING", "an old error")


def test_a_connection_that_comes_while_the_reason_is_asked_saves_the_call(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    line.now = "TRANSIENT_FAILURE"
    call.fire()
    assert line.answer is not None
    call.connected()
    line.answer("refused")
    assert call.ended == []


def test_a_call_that_ends_while_the_reason_is_asked_is_not_ended_again(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    line.now = "TRANSIENT_FAILURE"
    call.fire()
    assert line.answer is not None
    call.done()
    line.answer("refused")
    assert call.ended == []


def test_a_channel_at_rest_is_looked_at_again(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    line.now = "IDLE"
    call.fire()
    assert call.ended == []
    assert call.when is not None
    assert call.when < clock() + 1
    line.now = "CONNECTING"
    call.fire()
    assert len(call.ended) == 1


def test_acceptance_that_cannot_be_seen_is_asked_for_once_and_given_some_time(
    line: Line, fly: Callable[..., Call]
) -> None:
    call = fly(ready=True)
    call.accepted = None
    call.fire()
    assert (call.asked, call.ended) == (1, [])
    call._asked_at = clock() - LONG_AGO
    call.fire()
    assert call.asked == 1
    assert [verdict.facts.layer for verdict in call.ended] == ["header"]


def test_acceptance_that_is_heard_of_in_that_time_saves_the_call(line: Line, fly: Callable[..., Call]) -> None:
    call = fly(ready=True)
    call.accepted = None
    call.fire()
    call.note_accepted()
    call._asked_at = clock() - LONG_AGO
    call.fire()
    assert call.ended == []


def test_a_call_that_is_done_is_let_go_of(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    assert line.waiting == [call]
    call.done()
    call.done()
    assert line.waiting == []
    assert call.line is NOWHERE
    assert not call.armed
    call.connected()
    assert not call.armed
    call.fire()
    assert call.ended == []


def test_a_failure_to_connect_that_grpc_tells_first_is_told_as_ours(line: Line, fly: Callable[..., Call]) -> None:
    call = fly()
    told = call.missed_connection(line, "UNAVAILABLE", "the kernel says so", 6.0)
    assert told is not None
    assert (told.facts.layer, told.facts.elapsed, told.facts.last_error) == ("connect", 6.0, "the kernel says so")
    assert call.missed_connection(line, "UNAVAILABLE", "", 4.0) is None
    assert call.missed_connection(line, "INTERNAL", "", 6.0) is None
    assert fly(Limits(header=5.0)).missed_connection(line, "UNAVAILABLE", "", 6.0) is None
    assert fly(ready=True).missed_connection(line, "UNAVAILABLE", "", 6.0) is None
    call.connected()
    assert call.missed_connection(line, "UNAVAILABLE", "", 6.0) is None
