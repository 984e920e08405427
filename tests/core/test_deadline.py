"""Budget arithmetic and the exact budget's codec."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.deadline import (
    BUDGET_KEY,
    UNLIMITED_ABOVE,
    decode_budget,
    earliest,
    encode_budget,
    inbound_deadline,
    normalize_timeout,
)

limits = st.none() | st.floats(0, UNLIMITED_ABOVE)


@pytest.mark.parametrize("value", [None, math.inf, 1e9, 9.22e18, 10**30, 10**400])
def test_what_sets_no_limit(value: object) -> None:
    assert normalize_timeout(value) is None


@pytest.mark.parametrize("value", [0, -1, 0.25, 8, -math.inf, 1e8])
def test_what_is_a_limit(value: float) -> None:
    assert normalize_timeout(value) == value


def test_a_negative_integer_too_large_for_a_float_is_spent() -> None:
    assert normalize_timeout(-(10**400)) == -math.inf


@pytest.mark.parametrize("value", ["5", True, b"5", [5], Decimal(5), 5j])
def test_what_is_not_a_number_is_named(value: object) -> None:
    with pytest.raises(TypeError, match="my_timeout must be a number of seconds or None"):
        normalize_timeout(value, "my_timeout")


def test_nan_is_named() -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds or None, not NaN"):
        normalize_timeout(math.nan)


@given(limits, limits)
def test_earliest_is_a_minimum_in_which_none_is_the_largest(first: float | None, second: float | None) -> None:
    expected = min(math.inf if first is None else first, math.inf if second is None else second)
    assert earliest(first, second) == (None if expected == math.inf else expected)


@given(st.floats(0, UNLIMITED_ABOVE))
def test_budget_survives_the_wire_within_a_microsecond_and_never_grows(seconds: float) -> None:
    encoded = encode_budget(seconds)
    for value in (encoded, encoded.encode()):
        decoded = decode_budget(value)
        assert decoded is not None
        assert seconds - 2e-6 <= decoded <= seconds


@given(st.text() | st.binary())
def test_decoding_what_a_stranger_sent_never_raises(value: str | bytes) -> None:
    decoded = decode_budget(value)
    assert decoded is None or 0 <= decoded <= 1e9


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.5", "1e3", " 1", "nan", "٣", "²", "9" * 16, b"\xff"])
def test_malformed_budgets_are_ignored(value: str | bytes) -> None:
    assert decode_budget(value) is None


def test_the_smallest_wellformed_budget_counts() -> None:
    metadata: list[tuple[str, str | bytes]] = [
        ("other", "1"),
        (BUDGET_KEY, "3000000"),
        (BUDGET_KEY, "x"),
        (BUDGET_KEY, b"2000000"),
    ]
    assert inbound_deadline(None, metadata, 0.0) == 2.0
    assert inbound_deadline(1.0, metadata, 0.0) == 1.0


@given(limits, limits, st.floats(0, 1e9))
def test_inbound_deadline_is_the_earlier_of_grpcs_and_the_exact_one(
    remaining: float | None, exact: float | None, now: float
) -> None:
    metadata = [] if exact is None else [(BUDGET_KEY, encode_budget(exact))]
    deadline = inbound_deadline(remaining, metadata, now)
    left = earliest(remaining, None if exact is None else math.floor(exact * 1e6) / 1e6)
    assert deadline == (None if left is None else pytest.approx(now + left, abs=1e-5))


def test_the_sync_stacks_huge_number_means_no_deadline() -> None:
    assert inbound_deadline(9.22e18, (), 5.0) is None
    assert inbound_deadline(None, None, 5.0) is None
    assert inbound_deadline(math.nan, None, 5.0) is None


def test_six_hops_drift_by_less_than_a_millisecond() -> None:
    """A budget handed down through six hops that take no time loses at most a microsecond per hop."""
    left = 100.0
    for now in range(1, 7):
        deadline = inbound_deadline(left * 1.01, [(BUDGET_KEY, encode_budget(left))], float(now))
        assert deadline is not None
        left = deadline - now
    assert 100 - 1e-3 < left <= 100


def test_the_exact_budget_counts_from_the_arrival_of_the_request_not_from_the_start_of_its_handler() -> None:
    metadata = [(BUDGET_KEY, "5000000")]
    assert inbound_deadline(None, metadata, 103.0, 100.0) == 105.0
    assert inbound_deadline(2.01, metadata, 103.0, 100.0) == 105.0
    assert inbound_deadline(1.5, metadata, 103.0, 100.0) == 104.5
    assert inbound_deadline(9.0, None, 103.0, 100.0) == 112.0
