"""Labels that strangers choose stay within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.labels import LONGEST, OTHER, UNKNOWN, BoundedLabel


@given(st.lists(st.text(max_size=200)), st.integers(1, 5))
def test_there_are_never_more_values_than_allowed(values: list[str], most: int) -> None:
    label = BoundedLabel(most)
    named = [label(value) for value in values]
    assert len(set(named) - {OTHER, UNKNOWN}) <= most
    assert all(len(name) <= LONGEST for name in named)
    assert [label(value) for value in values] == named or OTHER in [label(value) for value in values]


def test_the_first_values_keep_their_names() -> None:
    label = BoundedLabel(2)
    assert [label(value) for value in ("a", "b", "c", "a", "", "b", "d")] == ["a", "b", OTHER, "a", UNKNOWN, "b", OTHER]


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BoundedLabel(0)
