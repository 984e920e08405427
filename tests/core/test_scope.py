"""The cancel tree, against a naive model and under threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

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


def holds(parent: Scope, member: object) -> bool:
    return any(each is member for each in parent.members)


class ScopeTree(RuleBasedStateMachine):
    """Random growth, ends of blocks, releases and cancels of a tree; the model walks the tree the slow way."""

    scopes: Bundle[Scope] = Bundle("scopes")
    calls: Bundle[tuple[Scope, Call]] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.parent: dict[Scope, Scope | None] = {}
        self.cancelled: dict[Scope, Reason] = {}
        self.ended: set[Scope] = set()
        """Scopes for which ``finish`` was called."""
        self.held: dict[Call, Scope] = {}
        self.should_end: set[Call] = set()

    def _path(self, scope: Scope) -> Iterator[Scope]:
        at: Scope | None = scope
        while at is not None:
            yield at
            at = self.parent[at]

    def _finished(self, scope: Scope) -> bool:
        path = list(self._path(scope))
        return all(each in self.ended for each in path) and not any(each in self.cancelled for each in path)

    @rule(target=scopes)
    def root(self) -> Scope:
        scope = Scope(None, "inherited:/s/m")
        self.parent[scope] = None
        return scope

    @rule(target=scopes, parent=scopes)
    def child(self, parent: Scope) -> Scope:
        scope = parent.child(None, "limit")
        self.parent[scope] = parent
        for each in self._path(scope):
            if each in self.cancelled:
                self.cancelled[scope] = self.cancelled[each]
                break
        return scope

    @rule(target=calls, scope=scopes, raises=st.booleans())
    def adopt(self, scope: Scope, raises: bool) -> tuple[Scope, Call]:
        doomed = scope in self.cancelled
        call = Call(raises and not doomed)
        scope.adopt(call)
        if doomed:
            self.should_end.add(call)
        else:
            self.held[call] = scope
        return scope, call

    @rule(pair=consumes(calls))
    def release(self, pair: tuple[Scope, Call]) -> None:
        scope, call = pair
        scope.release(call)
        self.held.pop(call, None)

    @rule(scope=scopes)
    def finish(self, scope: Scope) -> None:
        scope.finish()
        self.ended.add(scope)
        if self.parent[scope] is None and scope not in self.cancelled:
            self.held = {call: holder for call, holder in self.held.items() if holder is not scope}

    @rule(scope=scopes, reason=st.sampled_from(Reason))
    def cancel(self, scope: Scope, reason: Reason) -> None:
        if scope in self.ended and self.parent[scope] is not None:
            return  # only the owner of an open block cancels it
        failures = scope.cancel(reason)
        if scope in self.cancelled or self._finished(scope):
            assert failures == []
            return
        below = {each for each in self.parent if scope in self._path(each) and each not in self.cancelled}
        for each in below:
            self.cancelled[each] = reason
        ended = {call for call, holder in self.held.items() if holder in below}
        self.should_end |= ended
        assert len(failures) == sum(call.raises for call in ended)
        for call in ended:
            del self.held[call]

    @invariant()
    def agrees_with_the_model(self) -> None:
        for scope in self.parent:
            assert scope.finished == self._finished(scope)
            assert scope.why(0.0) is self.cancelled.get(scope)
        assert all(call.told == 1 for call in self.should_end)
        assert all(call.told == 0 for call in self.held)

    @invariant()
    def forgets_what_is_done(self) -> None:
        """An ended block without calls and open blocks inside is held by nobody."""
        for scope, parent in self.parent.items():
            if parent is not None and holds(parent, scope):
                inside = [each for each in self.parent if scope in self._path(each)]
                assert any(each not in self.ended or each in self.held.values() for each in inside)


TestScopeTree = ScopeTree.TestCase


def test_finished_children_are_forgotten() -> None:
    parent = Scope(None, "inherited:/s/m")
    for _ in range(1000):
        parent.child(None, "limit").finish()
    assert len(parent.members) == 0


def test_a_call_that_outlives_its_block_ends_with_the_parent() -> None:
    parent = Scope(None, "inherited:/s/m")
    block = parent.child(None, "limit")
    call = Call()
    block.adopt(call)
    block.finish()
    parent.cancel(Reason.CLIENT_CANCELLED)
    assert call.told == 1


def test_a_block_is_forgotten_with_the_last_call_that_outlived_it() -> None:
    parent = Scope(None, "inherited:/s/m")
    for _ in range(1000):
        block = parent.child(None, "limit")
        calls = [Call(), Call()]
        for call in calls:
            block.adopt(call)
        block.finish()
        for call in calls:
            assert holds(parent, block)
            block.release(call)
    assert not parent.members


def test_work_left_behind_by_a_block_has_the_parents_deadline() -> None:
    parent = Scope(100.0, "inherited:/s/m", "/s/m")
    block = parent.child(5.0, "limit")
    assert (block.deadline, block.source, block.method) == (5.0, "limit", "/s/m")
    block.finish()
    assert (block.deadline, block.source) == (100.0, "inherited:/s/m")
    assert not block.finished
    parent.finish()
    assert block.finished


def test_new_calls_of_work_left_behind_end_with_the_parent() -> None:
    parent = Scope(None, "inherited:/s/m")
    block = parent.child(None, "limit")
    block.finish()
    before, after = Call(), Call()
    block.adopt(before)
    assert holds(parent, block)
    parent.cancel(Reason.EXPIRED)
    block.adopt(after)
    assert (before.told, after.told) == (1, 1)
    assert block.reason is Reason.EXPIRED


def test_a_raising_member_does_not_stop_its_siblings_and_is_reported() -> None:
    scope = Scope(None, "inherited:/s/m")
    blocks = [scope, scope.child(None, "limit"), scope.child(None, "limit")]
    members = [Call(raises=index % 2 == 0) for index in range(30)]
    for index, member in enumerate(members):
        blocks[index % 3].adopt(member)
    failures = scope.cancel(Reason.CLIENT_CANCELLED)
    assert [member.told for member in members] == [1] * 30
    assert len(failures) == 15


def test_the_first_reason_stands() -> None:
    scope = Scope(None, "inherited:/s/m")
    scope.cancel(Reason.EXPIRED)
    scope.cancel(Reason.CLIENT_CANCELLED)
    scope.finish()
    assert scope.reason is Reason.EXPIRED
    assert not scope.finished


def test_a_cancelled_fan_out_leaves_its_parent_alone() -> None:
    parent = Scope(None, "inherited:/s/m")
    block, beside = parent.child(None, "fan-out"), Call()
    inside = Call()
    parent.adopt(beside)
    block.adopt(inside)
    block.cancel(Reason.PARENT)
    assert (inside.told, beside.told) == (1, 0)
    assert (block.why(0.0), parent.why(0.0)) == (Reason.PARENT, None)
    block.finish()
    assert parent.members == {beside}


def test_ten_thousand_nested_blocks_are_cancelled() -> None:
    scope = root = Scope(None, "inherited:/s/m")
    for _ in range(10_000):
        scope = scope.child(None, "limit")
    call = Call()
    scope.adopt(call)
    root.cancel(Reason.EXPIRED)
    assert call.told == 1
    assert scope.reason is Reason.EXPIRED


@pytest.mark.parametrize(("own", "parents", "expected"), [(5.0, None, 5.0), (5.0, 3.0, 3.0), (None, 3.0, 3.0)])
def test_a_child_never_outlives_its_parents_deadline(own: float | None, parents: float | None, expected: float) -> None:
    child = Scope(parents, "inherited:/s/m").child(own, "limit")
    assert child.deadline == expected
    assert child.source == ("limit" if expected == own else "inherited:/s/m")


def race(first: Callable[[], object], second: Callable[[], object]) -> None:
    """Run both at the same time."""
    together = threading.Barrier(2)

    def run() -> None:
        together.wait()
        first()

    thread = threading.Thread(target=run)
    thread.start()
    together.wait()
    second()
    thread.join()


def test_each_member_is_told_once_when_adoption_races_with_cancellation() -> None:
    for _ in range(300):
        scope = Scope(None, "inherited:/s/m")
        calls = [Call() for _ in range(20)]

        def adopt_all(scope: Scope = scope, calls: list[Call] = calls) -> None:
            for call in calls:
                scope.adopt(call)

        race(adopt_all, lambda scope=scope: scope.cancel(Reason.CLIENT_CANCELLED))  # type: ignore[misc]  # bound above
        assert [call.told for call in calls] == [1] * 20


def test_no_member_is_lost_when_the_last_call_of_an_ended_block_is_released_while_another_starts() -> None:
    for _ in range(300):
        parent = Scope(None, "inherited:/s/m")
        block = parent.child(None, "limit")
        old, new = Call(), Call()
        block.adopt(old)
        block.finish()
        race(lambda block=block, old=old: block.release(old), lambda block=block, new=new: block.adopt(new))  # type: ignore[misc]
        parent.cancel(Reason.CLIENT_CANCELLED)
        assert (old.told, new.told) == (0, 1)
