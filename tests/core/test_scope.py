"""The cancel tree, against a naive model and under threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from grpc_heartbeat.core.scope import Reason, Scope


class Call:
    """A member that remembers how often it was told to end."""

    def __init__(self, raises: bool = False) -> None:
        self.told = 0
        self.raises = raises

    def scope_cancelled(self, scope: Scope) -> None:
        self.told += 1
        if self.raises:
            raise RuntimeError("broken member")


class ScopeTree(RuleBasedStateMachine):
    """Random growth, finishing, forgetting and cancelling of a tree; the model walks the tree the slow way."""

    scopes: Bundle[Scope] = Bundle("scopes")
    calls: Bundle[tuple[Scope, Call]] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.parent: dict[Scope, Scope | None] = {}
        self.cancelled: set[Scope] = set()
        self.finished: set[Scope] = set()
        self.held: dict[Call, Scope] = {}
        self.should_end: set[Call] = set()

    def _ancestors(self, scope: Scope) -> list[Scope]:
        """The scope and those above it through which a cancellation reaches it (a finished one has let go)."""
        path = []
        at: Scope | None = scope
        while at is not None:
            path.append(at)
            at = self.parent[at]
        return path

    @rule(target=scopes)
    def root(self) -> Scope:
        scope = Scope(None, "inherited:/s/m")
        self.parent[scope] = None
        return scope

    @rule(target=scopes, parent=scopes)
    def child(self, parent: Scope) -> Scope:
        scope = parent.child(None, "limit")
        self.parent[scope] = parent if parent not in self.finished else None
        if parent in self.cancelled:
            self.cancelled.add(scope)
        return scope

    @rule(target=calls, scope=scopes, raises=st.booleans())
    def adopt(self, scope: Scope, raises: bool) -> tuple[Scope, Call]:
        call = Call(raises and scope not in self.cancelled)
        scope.adopt(call)
        if scope in self.cancelled:
            self.should_end.add(call)
        elif scope not in self.finished:
            self.held[call] = scope
        return scope, call

    @rule(pair=consumes(calls))
    def forget(self, pair: tuple[Scope, Call]) -> None:
        scope, call = pair
        scope.members.discard(call)
        self.held.pop(call, None)

    @rule(scope=scopes)
    def finish(self, scope: Scope) -> None:
        scope.finish()
        if scope not in self.cancelled:
            self.finished.add(scope)
            self.held = {call: holder for call, holder in self.held.items() if holder is not scope}
            for each, parent in self.parent.items():
                if parent is scope:
                    self.parent[each] = None

    @rule(scope=scopes, reason=st.sampled_from(Reason))
    def cancel(self, scope: Scope, reason: Reason) -> None:
        scope.cancel(reason)
        if scope in self.finished or scope in self.cancelled:
            return
        below = {s for s in self.parent if s not in self.finished and scope in self._ancestors(s)}
        self.cancelled |= below
        ended = {call for call, holder in self.held.items() if holder in below}
        self.should_end |= ended
        for call in ended:
            del self.held[call]

    @invariant()
    def agrees_with_the_model(self) -> None:
        for scope in self.parent:
            assert (scope.reason is not None) == (scope in self.cancelled)
            assert scope.finished == (scope in self.finished)
        assert all(call.told == 1 for call in self.should_end)
        assert all(call.told == 0 for call in self.held)


TestScopeTree = ScopeTree.TestCase


def test_finished_children_are_forgotten() -> None:
    parent = Scope(None, "inherited:/s/m")
    for _ in range(1000):
        parent.child(None, "limit").finish()
    assert len(parent.members) == 0


def test_a_raising_member_does_not_stop_its_siblings_and_is_reported() -> None:
    scope = Scope(None, "inherited:/s/m")
    members = [Call(raises=index % 2 == 0) for index in range(10)]
    for member in members:
        scope.adopt(member)
    failures = scope.cancel(Reason.CLIENT_CANCELLED)
    assert [member.told for member in members] == [1] * 10
    assert len(failures) == 5


def test_the_first_reason_stands() -> None:
    scope = Scope(None, "inherited:/s/m")
    scope.cancel(Reason.EXPIRED)
    scope.cancel(Reason.CLIENT_CANCELLED)
    scope.finish()
    assert scope.reason is Reason.EXPIRED
    assert not scope.finished


@pytest.mark.parametrize(("own", "parents", "expected"), [(5.0, None, 5.0), (5.0, 3.0, 3.0), (None, 3.0, 3.0)])
def test_a_child_never_outlives_its_parents_deadline(own: float | None, parents: float | None, expected: float) -> None:
    child = Scope(parents, "inherited:/s/m").child(own, "limit")
    assert child.deadline == expected
    assert child.source == ("limit" if expected == own else "inherited:/s/m")


def test_no_member_is_missed_when_adoption_races_with_cancellation() -> None:
    for _ in range(300):
        scope = Scope(None, "inherited:/s/m")
        calls = [Call() for _ in range(20)]
        together = threading.Barrier(2)

        def adopt_all(scope: Scope = scope, calls: list[Call] = calls, together: threading.Barrier = together) -> None:
            together.wait()
            for call in calls:
                scope.adopt(call)

        adopter = threading.Thread(target=adopt_all)
        adopter.start()
        together.wait()
        scope.cancel(Reason.CLIENT_CANCELLED)
        adopter.join()
        assert all(call.told >= 1 for call in calls)
