"""The rule of adaptive totals, in virtual time: clamped, quick to give time back, and deaf to what teaches nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.adapting import Adaptation, AdaptingTotal, TotalAdapted

RULES = Adaptation()
MOST = 8.0
METHOD = "/shop.Orders/Place"


def settle(
    total: AdaptingTotal, latency: float, start: float = 0.0, seconds: float = 30.0, rate: float = 10.0
) -> float:
    """Make calls that need ``latency``, and adapt whenever it is due; return the end."""
    now = start
    while now < start + seconds:
        now += 1 / rate
        if latency <= total.total:
            total.answered(latency, now)
        else:
            total.expired(total.total, now)
        if total.due(now):
            total.adapt(0.0, now)
    return now


def test_it_is_the_rule_to_the_letter() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    for number in range(100):
        total.answered(1.0 if number < 94 else 2.0, number / 100)
    assert not total.due(1.9)
    assert total.due(2.0)
    assert total.adapt(0.5, 2.0) == TotalAdapted(2.0, METHOD, MOST, 2.0 * (1 + 0.5 * 0.8) + 0.3, 2.0, 0.5, 100)
    assert total.total == pytest.approx(3.1)
    assert not total.due(3.9)


def test_what_was_observed_is_told() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    assert total.observed(0.0) == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "count": 0}
    for number in range(100):
        total.answered(0.5 if number < 60 else 1.0 if number < 97 else 4.0, 1.0)
    assert total.observed(2.0) == pytest.approx({"p50": 0.5, "p95": 1.0, "p99": 4.0, "count": 100}, rel=1 / 16)


def test_a_method_that_is_not_known_keeps_its_policy() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    for _ in range(99):
        total.answered(0.1, 1.0)
    assert total.adapt(0.0, 2.0) is None
    total.answered(0.1, 2.0)
    assert total.adapt(0.0, 4.0) is not None
    adapted = total.adapt(0.0, 1000.0)  # what was known is forgotten
    assert adapted is not None
    assert (adapted.after, adapted.quantile, adapted.samples) == (MOST, 0.0, 0)


def test_a_small_difference_changes_nothing() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    settle(total, 1.0)
    before = total.total
    assert total.adapt(0.05, 40.0) is None
    assert total.total == before
    assert total.adapt(0.5, 42.0) is not None


def test_a_method_that_becomes_slow_has_its_time_back_within_seconds() -> None:
    """A database fails over: 0.2 s become 2 s. Five minutes of quick answers do not stand in the way."""
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    now = settle(total, 0.2, seconds=300.0)
    assert total.total < 0.6
    slow_from = now
    while total.total < 2.0:
        now = settle(total, 2.0, now, 0.5)
        assert now - slow_from < 12.0
    assert settle(total, 2.0, now, 30.0)
    assert 2.0 < total.total < 3.0
    settle(total, 0.2, now, 400.0)
    assert total.total < 0.6


def test_a_call_that_had_less_time_than_the_total_teaches_nothing() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    now = settle(total, 0.2)
    for _ in range(100):
        total.expired(0.1, now)
    assert total.adapt(0.0, now + 5.0) is None


def test_a_peer_that_never_answers_gets_the_policys_total_and_no_more() -> None:
    total = AdaptingTotal(METHOD, MOST, RULES, 0.0)
    settle(total, 0.2)
    settle(total, 100.0, 30.0, 60.0)
    assert total.total == MOST


@given(
    latencies=st.lists(st.floats(0, 1e4), max_size=300),
    loads=st.lists(st.floats(0, 1), min_size=1),
    most=st.floats(0.2, 100),
)
def test_it_is_never_above_the_policy_nor_below_the_least(
    latencies: list[float], loads: list[float], most: float
) -> None:
    total, chance = AdaptingTotal(METHOD, most, Adaptation(samples=10, every=1.0), 0.0), random.Random(1)
    for number, latency in enumerate(latencies):
        now = number / 10
        if chance.random() < 0.3:
            total.expired(min(latency, total.total), now)
        else:
            total.answered(latency, now)
        if total.due(now):
            total.adapt(chance.choice(loads), now)
        assert 0.1 <= total.total <= most


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"window": 0.0}, "window"),
        ({"window": float("nan")}, "window"),
        ({"quantile": 1.0}, "quantile"),
        ({"quantile": 0.0}, "quantile"),
        ({"load_share": -0.1}, "load_share"),
        ({"headroom": float("inf")}, "headroom"),
        ({"least": 0.0}, "least"),
        ({"samples": 0}, "samples"),
        ({"every": -1.0}, "every"),
    ],
)
def test_wrong_numbers_are_refused_by_name(wrong: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=f"AdaptiveTimeouts.{word}"):
        Adaptation(**wrong)  # type: ignore[arg-type]  # the point of the test
