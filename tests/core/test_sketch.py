"""The sketch against the sorted values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.sketch import Sketch, Summary

SECONDS = st.lists(st.floats(1e-6, 3600), min_size=1, max_size=200)


def filled(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(SECONDS, st.floats(0.01, 1))
def test_a_quantile_is_within_a_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    found = filled(values).quantile(share)
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.0625 + 1e-6


@given(SECONDS, SECONDS)
def test_merging_is_adding_both(some: list[float], others: list[float]) -> None:
    merged = Sketch.merged([filled(some), filled(others)])
    assert merged.summary() == filled(some + others).summary()


@pytest.mark.parametrize("tiny", [0.0, -3.0, 1e-12, 2.0**-20])
def test_what_is_below_a_microsecond_is_counted_as_such(tiny: float) -> None:
    summary = filled([tiny]).summary()
    assert summary.count == 1
    assert summary.p50 == max(0.0, tiny)


def test_what_is_beyond_an_hour_is_counted_as_the_largest() -> None:
    assert filled([1e5, 2e6]).summary() == Summary(2, 2e6, 2e6, 2e6)


def test_nothing_was_seen_yet() -> None:
    assert Sketch().summary() == Summary(0, 0.0, 0.0, 0.0)


def test_the_size_is_bounded() -> None:
    sketch = filled([1.01**exponent for exponent in range(-3000, 3000)])
    assert len(sketch._counts) <= 514
