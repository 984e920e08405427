"""Planning outbound calls: the smallest limit wins, and nothing is started that cannot succeed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.outgoing import plan
from grpc_heartbeat.core.scope import Reason, Scope

NOW = 1000.0
seconds = st.floats(0.001, 1e6)
optional = st.none() | seconds


@given(optional, optional, optional)
def test_the_smallest_limit_wins_and_names_its_source(
    explicit: float | None, policy: float | None, inherited: float | None
) -> None:
    scope = None if inherited is None else Scope(NOW + inherited, "inherited:/a/b", "/a/b")
    planned = plan("/c/d", explicit, policy, scope, NOW)
    candidates = {"explicit": explicit, "policy": policy, "inherited:/a/b": scope and (scope.deadline or 0) - NOW}
    limits = {source: value for source, value in candidates.items() if value is not None}
    assert planned.refusal is None
    if not limits:
        assert planned.timeout is None
        return
    assert planned.timeout == min(limits.values())
    assert limits[planned.source] == planned.timeout
    assert (planned.budget is not None) == (planned.source == "policy" or scope is not None)


@pytest.mark.parametrize("timeout", [None, math.inf, 1e12])
def test_a_scope_without_a_deadline_still_cancels(timeout: float | None) -> None:
    scope = Scope(None, "inherited:/a/b", "/a/b")
    planned = plan("/c/d", timeout, None, scope, NOW)
    assert (planned.timeout, planned.budget, planned.refusal) == (None, None, None)
    assert planned.scope is scope


def test_nothing_is_inherited_from_a_finished_scope() -> None:
    scope = Scope(NOW - 1, "inherited:/a/b", "/a/b")
    scope.finish()
    planned = plan("/c/d", None, None, scope, NOW)
    assert (planned.scope, planned.timeout, planned.refusal) == (None, None, None)


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
def test_a_spent_explicit_timeout_is_refused(timeout: float) -> None:
    refusal = plan("/c/d", timeout, None, None, NOW).refusal
    assert refusal is not None
    assert refusal.expired
    assert refusal.facts.source == "explicit"
    assert "/c/d was not sent" in refusal.details


def test_a_passed_inherited_deadline_is_refused_by_name() -> None:
    refusal = plan("/c/d", 5, None, Scope(NOW - 0.25, "inherited:/a/b", "/a/b"), NOW).refusal
    assert refusal is not None
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
    refusal = plan("/c/d", None, None, scope, NOW).refusal
    assert refusal is not None
    assert refusal.expired is expired
    assert words in refusal.details
    assert refusal.facts.layer == "scope"


def test_facts_are_given_only_where_a_limit_of_ours_ended_the_call() -> None:
    scope = Scope(NOW + 5, "inherited:/a/b", "/a/b")
    planned = plan("/c/d", None, None, scope, NOW)
    assert planned.facts("UNAVAILABLE", NOW + 1) is None
    assert planned.facts("CANCELLED", NOW + 1) is None
    total = planned.facts("DEADLINE_EXCEEDED", NOW + 5)
    assert total is not None
    assert (total.layer, total.limit, total.elapsed, total.source) == ("total", 5.0, 5.0, "inherited:/a/b")
    scope.cancel(Reason.CLIENT_CANCELLED)
    cancelled = planned.facts("CANCELLED", NOW + 2)
    assert cancelled is not None
    assert (cancelled.layer, cancelled.elapsed) == ("scope", 2.0)
