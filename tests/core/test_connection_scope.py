"""Calls end with their work or with their connection, whichever ends first, and are told once."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from grpc_heartbeat.core.connection_scope import ConnectionScope, JointScope
from grpc_heartbeat.core.limits import UNLIMITED
from grpc_heartbeat.core.outgoing import own_limit, refuse
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.wording import ended_by_grpc, ended_by_scope


class Call:
    """A member that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Reason | None, str]] = []

    def scope_cancelled(self, scope: Scope) -> None:
        self.told.append((scope.reason, scope.conviction))


def test_a_conviction_ends_the_calls_inside_and_outside_of_work() -> None:
    connection, work = ConnectionScope(), Scope(9.0, "inherited:/a/B", "/a/B")
    outside, inside = Call(), Call()
    connection.adopt(outside)
    joint = JointScope(work, connection)
    joint.adopt(inside)
    joint.finish()
    assert (joint.deadline, joint.source, joint.method) == (9.0, "inherited:/a/B", "/a/B")
    assert connection.convict("3 beats in a row not echoed") == []
    assert outside.told == inside.told == [(Reason.CONVICTED, "3 beats in a row not echoed")]
    assert work.reason is None
    verdict = ended_by_scope(joint, "/shop/Buy", None, 1.5, "READY")
    assert verdict.status == "UNAVAILABLE"
    assert verdict.details.startswith(
        "/shop/Buy was ended after 1.5 s: the heartbeat breaker opened (3 beats in a row not echoed). The request may"
    )
    assert (verdict.facts.layer, verdict.facts.elapsed, verdict.facts.source) == ("breaker", 1.5, "breaker")
    assert verdict.facts.last_error == "3 beats in a row not echoed"
    told = ended_by_grpc("UNAVAILABLE", "Socket closed", "/shop/Buy", None, UNLIMITED, joint, None, 1.5)
    assert told is not None
    assert told.facts.layer == "breaker"
    late = refuse("/shop/Buy", None, UNLIMITED, joint, None)
    assert (late.status, late.facts.layer) == ("UNAVAILABLE", "breaker")


def test_the_end_of_the_work_ends_its_calls_only() -> None:
    connection, work = ConnectionScope(), Scope(None, "limit")
    outside, inside = Call(), Call()
    connection.adopt(outside)
    joint = JointScope(work, connection)
    joint.adopt(inside)
    work.cancel(Reason.CLIENT_CANCELLED)
    assert (inside.told, outside.told) == ([(Reason.CLIENT_CANCELLED, "")], [])


def test_a_call_that_is_done_leaves_nothing_behind() -> None:
    connection, work = ConnectionScope(), Scope(None, "limit")
    for finished_first in (True, False):
        call = Call()
        joint = JointScope(work, connection)
        joint.adopt(call)
        if finished_first:
            joint.finish()
            joint.release(call)
        else:
            joint.release(call)
            joint.finish()
        assert not connection.members
        assert not work.members


def test_work_that_goes_on_in_a_scope_that_was_left_is_ended_with_its_connection() -> None:
    connection, work = ConnectionScope(), Scope(None, "limit")
    joint = JointScope(work, connection)
    joint.finish()
    late = Call()
    joint.adopt(late)
    connection.convict("why")
    assert late.told == [(Reason.CONVICTED, "why")]


def test_calls_that_come_too_late_are_told_at_once() -> None:
    connection = ConnectionScope()
    connection.convict("why")
    outside, inside = Call(), Call()
    connection.adopt(outside)
    JointScope(Scope(None, "limit"), connection).adopt(inside)
    assert outside.told == inside.told == [(Reason.CONVICTED, "why")]


def test_a_retired_connection_says_once_that_its_last_call_is_done() -> None:
    told: list[str] = []
    connection, first, second = ConnectionScope(), Call(), Call()
    connection.adopt(first)
    connection.adopt(second)
    connection.release(first)
    connection.retire(lambda: told.append("idle"))
    assert told == []
    connection.release(second)
    connection.release(second)
    assert told == ["idle"]
    ConnectionScope().retire(lambda: told.append("never used"))
    assert told == ["idle", "never used"]


def test_the_limit_of_a_call_itself() -> None:
    assert [own_limit(*pair) for pair in ((None, None), (1, None), (None, 2.0), (3, 2.0), (1.5, 2.0))] == [
        None,
        1.0,
        2.0,
        2.0,
        1.5,
    ]


class TwoOwners(RuleBasedStateMachine):
    """Any order of starts, ends, cancels and convictions: told at most once, and exactly those that were under way."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Any = ConnectionScope()
        self.works = [Scope(None, "limit") for _ in range(2)]
        self.running: list[tuple[Call, Any]] = []
        self.all: list[Call] = []
        self.idle = 0

    @rule(inside=st.booleans(), work=st.booleans())
    def start(self, inside: bool, work: bool) -> None:
        call = Call()
        self.all.append(call)
        scope = JointScope(self.works[work], self.connection) if inside else self.connection
        scope.adopt(call)
        if inside:
            scope.finish()
        if not call.told:
            self.running.append((call, scope))

    @precondition(lambda self: self.running)
    @rule(last=st.booleans())
    def end(self, last: bool) -> None:
        call, scope = self.running.pop(-1 if last else 0)
        scope.release(call)

    @rule(work=st.booleans())
    def call_off(self, work: bool) -> None:
        self.works[work].cancel(Reason.PARENT)
        self._drop_told()
        self.works[work] = Scope(None, "limit")

    @rule()
    def convict(self) -> None:
        before = [call for call, _ in self.running]
        self.connection.convict("why")
        assert all(call.told == [(Reason.CONVICTED, "why")] for call in before)
        self._drop_told()
        self.connection = ConnectionScope()

    def _drop_told(self) -> None:
        for call, scope in self.running:
            if call.told:
                scope.release(call)
        self.running = [(call, scope) for call, scope in self.running if not call.told]

    @invariant()
    def holds(self) -> None:
        assert all(len(call.told) <= 1 for call in self.all)
        if not self.running:
            assert not self.connection.members
            assert not any(work.members for work in self.works)


TestTwoOwners = TwoOwners.TestCase
