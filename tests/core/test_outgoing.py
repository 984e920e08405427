"""Planning outbound calls: the smallest limit wins, and nothing is started that cannot succeed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.deadline import BUDGET_KEY, decode_budget, inbound_deadline
from grpc_heartbeat.core.limits import UNLIMITED, Limits
from grpc_heartbeat.core.outgoing import inheritable, plan, refuse
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.wording import source_of

NOW = 1000.0
seconds = st.floats(0.001, 1e6)
optional = st.none() | seconds


def of_policy(total: float | None) -> Limits:
    return Limits().changed({"total": total}, "policy:default")


@given(optional, optional, optional)
def test_the_smallest_limit_wins_and_is_named(
    explicit: float | None, policy: float | None, inherited: float | None
) -> None:
    deadline = None if inherited is None else NOW + inherited
    scope = None if inherited is None else Scope(deadline, "inherited:/a/b", "/a/b")
    left = None if deadline is None else deadline - NOW
    candidates = {"explicit": explicit, "policy:default": policy, "inherited:/a/b": left}
    limits = {source: value for source, value in candidates.items() if value is not None}
    limit, budget, allowed = plan(explicit, policy, scope, NOW)
    assert allowed
    assert limit == min(limits.values(), default=None)
    if limit is not None:
        source = source_of(explicit, of_policy(policy), scope, limit)
        assert limits[source] == limit
        assert (budget is not None) == (source != "explicit" or scope is not None)
    if budget is not None:
        assert limit is not None
        sent = decode_budget(budget)
        assert sent is not None
        assert limit - 1e-6 <= sent <= limit


@given(
    total=st.floats(0.1, 10_000),
    hops=st.lists(st.tuples(st.floats(0, 0.001), st.floats(0, 0.03)), min_size=6, max_size=6),
)
def test_six_hops_drift_by_less_than_a_millisecond_each(total: float, hops: list[tuple[float, float]]) -> None:
    """Whatever ``grpc-timeout`` becomes: C-core makes it up to 3 % longer."""
    now = NOW
    scope = None
    ends = NOW + total
    for transit, longer in hops:
        limit, budget, allowed = plan(None, total if scope is None else None, scope, now)
        if not allowed:
            break
        assert limit is not None
        assert budget is not None
        now += transit
        deadline = inbound_deadline(limit * (1 + longer), ((BUDGET_KEY, budget),), now)
        assert deadline is not None
        scope = Scope(deadline, "inherited:/a/b", "/a/b")
        ends += transit
        assert ends - 1e-5 <= deadline <= ends + 1e-9


@pytest.mark.parametrize("timeout", [None, math.inf, 1e12])
def test_a_scope_without_a_deadline_sets_no_limit(timeout: float | None) -> None:
    assert plan(timeout, None, Scope(None, "inherited:/a/b", "/a/b"), NOW) == (None, None, True)


def test_a_plain_call_carries_nothing_of_ours() -> None:
    assert plan(5, None, None, NOW) == (5.0, None, True)
    assert plan(None, None, None, NOW) == (None, None, True)


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
    refusal = refuse("/c/d", timeout, UNLIMITED, None, limit)
    assert refusal.status == "DEADLINE_EXCEEDED"
    assert (refusal.facts.layer, refusal.facts.source) == ("total", "explicit")
    assert "/c/d was not sent: its total time-out (explicit) had" in refusal.details


def test_a_passed_inherited_deadline_is_refused_by_name() -> None:
    scope = Scope(NOW - 0.25, "inherited:/a/b", "/a/b")
    limit, _, allowed = plan(5, None, scope, NOW)
    assert not allowed
    refusal = refuse("/c/d", 5, UNLIMITED, scope, limit)
    assert refusal.status == "DEADLINE_EXCEEDED"
    assert refusal.facts.source == "inherited:/a/b"
    assert "had been spent 0.250 s before" in refusal.details


@pytest.mark.parametrize(
    ("reason", "status", "words"),
    [
        (Reason.EXPIRED, "DEADLINE_EXCEEDED", "the deadline of the inbound RPC /a/b passed"),
        (Reason.CLIENT_CANCELLED, "CANCELLED", "the inbound RPC /a/b was cancelled by its client"),
        (Reason.DRAINING, "CANCELLED", "its server is shutting down"),
        (Reason.PARENT, "CANCELLED", "the code around it"),
    ],
)
def test_a_cancelled_scope_is_refused_with_its_reason(reason: Reason, status: str, words: str) -> None:
    scope = Scope(NOW + 5, "inherited:/a/b", "/a/b")
    scope.cancel(reason)
    limit, _, allowed = plan(3, None, scope, NOW)
    assert not allowed
    refusal = refuse("/c/d", 3, UNLIMITED, scope, limit)
    assert refusal.status == status
    assert refusal.details.startswith("/c/d was not sent: ")
    assert words in refusal.details
    facts = refusal.facts
    assert (facts.layer, facts.limit, facts.source) == ("scope", None, "inherited:/a/b")


@pytest.mark.parametrize(("timeout", "error"), [(math.nan, ValueError), ("5", TypeError), (True, TypeError)])
def test_what_is_no_number_of_seconds_is_refused_by_name(timeout: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="timeout must be a number of seconds"):
        plan(timeout, None, None, NOW)
