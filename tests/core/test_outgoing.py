"""Planning outbound calls: the smallest limit wins, and nothing is started that cannot succeed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.outgoing import facts, inheritable, plan, refuse
from grpc_heartbeat.core.scope import Reason, Scope

NOW = 1000.0
seconds = st.floats(0.001, 1e6)
optional = st.none() | seconds


@given(optional, optional, optional)
def test_the_smallest_limit_wins_and_is_named(
    explicit: float | None, policy: float | None, inherited: float | None
) -> None:
    deadline = None if inherited is None else NOW + inherited
    scope = None if inherited is None else Scope(deadline, "inherited:/a/b", "/a/b")
    left = None if deadline is None else deadline - NOW
    candidates = {"explicit": explicit, "policy": policy, "inherited:/a/b": left}
    limits = {source: value for source, value in candidates.items() if value is not None}
    limit, budget, allowed = plan(explicit, policy, scope, NOW)
    assert allowed
    assert limit == min(limits.values(), default=None)
    told = facts("DEADLINE_EXCEEDED", explicit, policy, scope, limit, 1.0)
    assert (told is None) == (not limits)
    if told is not None:
        assert limits[told.source] == limit
        assert (budget is not None) == (told.source != "explicit" or scope is not None)


@pytest.mark.parametrize("timeout", [None, math.inf, 1e12])
def test_a_scope_without_a_deadline_sets_no_limit(timeout: float | None) -> None:
    assert plan(timeout, None, Scope(None, "inherited:/a/b", "/a/b"), NOW) == (None, None, True)


def test_nothing_is_inherited_from_a_finished_scope() -> None:
    scope = Scope(NOW - 1, "inherited:/a/b", "/a/b")
    assert inheritable(scope) is scope
    scope.finish()
    assert inheritable(scope) is None
    assert inheritable(None) is None


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
def test_a_spent_explicit_timeout_is_refused(timeout: float) -> None:
    limit, budget, allowed = plan(timeout, None, None, NOW)
    assert not allowed
    assert budget is None
    refusal = refuse("/c/d", timeout, None, None, limit)
    assert refusal.expired
    assert refusal.facts.source == "explicit"
    assert "/c/d was not sent" in refusal.details


def test_a_passed_inherited_deadline_is_refused_by_name() -> None:
    scope = Scope(NOW - 0.25, "inherited:/a/b", "/a/b")
    limit, _, allowed = plan(5, None, scope, NOW)
    assert not allowed
    refusal = refuse("/c/d", 5, None, scope, limit)
    assert refusal.expired
    assert refusal.facts.source == "inherited:/a/b"
    assert "been spent 0.250 s before" in refusal.details


@pytest.mark.parametrize(
    ("reason", "expired", "words"),
    [(Reason.EXPIRED, True, "deadline has passed"), (Reason.CLIENT_CANCELLED, False, "client has cancelled it")],
)
def test_a_cancelled_scope_is_refused_with_its_reason(reason: Reason, expired: bool, words: str) -> None:
    scope = Scope(NOW + 5, "inherited:/a/b", "/a/b")
    scope.cancel(reason)
    limit, _, allowed = plan(None, None, scope, NOW)
    assert not allowed
    refusal = refuse("/c/d", None, None, scope, limit)
    assert refusal.expired is expired
    assert words in refusal.details
    assert refusal.facts.layer == "scope"


def test_facts_are_given_only_where_a_limit_of_ours_ended_the_call() -> None:
    scope = Scope(NOW + 5, "inherited:/a/b", "/a/b")
    limit, _, _ = plan(None, None, scope, NOW)
    assert facts("UNAVAILABLE", None, None, scope, limit, 1.0) is None
    assert facts("CANCELLED", None, None, scope, limit, 1.0) is None
    total = facts("DEADLINE_EXCEEDED", None, None, scope, limit, 5.0)
    assert total is not None
    assert (total.layer, total.limit, total.elapsed, total.source) == ("total", 5.0, 5.0, "inherited:/a/b")
    scope.cancel(Reason.CLIENT_CANCELLED)
    cancelled = facts("CANCELLED", None, None, scope, limit, 2.0)
    assert cancelled is not None
    assert (cancelled.layer, cancelled.limit, cancelled.elapsed) == ("scope", None, 2.0)


def test_a_call_that_its_expired_scope_ended_before_its_own_limit_says_so() -> None:
    scope = Scope(NOW + 5, "inherited:/a/b", "/a/b")
    limit, _, _ = plan(None, None, scope, NOW)
    scope.cancel(Reason.EXPIRED)
    early = facts("DEADLINE_EXCEEDED", None, None, scope, limit, 4.99)
    late = facts("DEADLINE_EXCEEDED", None, None, scope, limit, 5.01)
    assert early is not None
    assert late is not None
    assert (early.layer, early.limit) == ("scope", 5.0)
    assert (late.layer, late.limit) == ("total", 5.0)
