"""The statistics of the measurements, and how they are interleaved."""

from __future__ import annotations

import gc
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import (
    Quartiles,
    Sample,
    Section,
    Typical,
    collector_off,
    quartiles,
    ratios,
    rows,
    shuffled,
    trimmed_mean,
    typical,
)

POSITIVE = st.floats(1e-6, 1e3)
SECTION = Section("client", "sync", "unary")


@given(st.lists(POSITIVE, min_size=1, max_size=50))
def test_quartiles_are_in_order_and_within_the_values(values: list[float]) -> None:
    found = quartiles(values)
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found.q1 <= found.median + slack
    assert found.median <= found.q3 + slack <= max(values) + 2 * slack


def test_quartiles_of_a_known_series() -> None:
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == Quartiles(2.0, 3.0, 4.0)
    assert quartiles([7.0]) == Quartiles(7.0, 7.0, 7.0)


@given(st.lists(POSITIVE, min_size=1, max_size=30), st.floats(0.5, 2))
def test_a_constant_factor_is_found_whatever_the_machine_does(speeds: list[float], factor: float) -> None:
    """Both variants suffer from the speed of the same chunk, so it cancels out."""
    found = ratios([speed * factor for speed in speeds], speeds)
    for value in (found.q1, found.median, found.q3):
        assert value == pytest.approx(factor)


def test_chunks_without_a_reference_do_not_count() -> None:
    assert ratios([1.0, 3.0], [0.0, 2.0]) == Quartiles(1.5, 1.5, 1.5)
    assert ratios([1.0], [0.0]) == Quartiles(1.0, 1.0, 1.0)


def test_pairs_must_be_complete() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_rows_compare_with_the_bare_cost_of_the_same_chunk() -> None:
    chunks = [
        {"ours": Typical(2e-6, 3e-6), "bare": Typical(1e-6, 1e-6)},
        {"ours": Typical(40e-6, 30e-6), "bare": Typical(20e-6, 10e-6)},
    ]
    bare, ours = rows(SECTION, chunks, 100)
    assert (bare.variant, ours.variant, ours.side, ours.rounds, ours.chunks) == ("bare", "ours", "client", 200, 2)
    assert bare.wall_ratio == bare.cpu_ratio == Quartiles(1.0, 1.0, 1.0)
    assert ours.wall_ratio == Quartiles(2.0, 2.0, 2.0)
    assert ours.cpu_ratio.median == pytest.approx(3.0)
    assert bare.wall_us == pytest.approx(10.5)
    assert ours.wall_us == pytest.approx(21.0)
    assert bare.extra_us == Quartiles(0.0, 0.0, 0.0)
    assert ours.extra_us.median == pytest.approx(10.5)
    assert (ours.extra_us.q1, ours.extra_us.q3) == pytest.approx((5.75, 15.25))


def test_one_slow_call_changes_neither_time() -> None:
    usual = [Sample(1.0, 2.0)] * 19
    assert typical([*usual, Sample(500.0, 900.0)]) == Typical(1.0, 2.0)


def test_cpu_may_be_measured_for_the_chunk_as_a_whole() -> None:
    assert typical([Sample(1.0), Sample(3.0), Sample(4.0)], 0.5) == Typical(3.0, 0.5)
    assert typical([Sample(1.0)]) == Typical(1.0, 0.0)


def test_the_dearest_tenth_does_not_count() -> None:
    assert trimmed_mean([1.0] * 9 + [100.0]) == 1.0
    assert trimmed_mean([100.0, *([1.0] * 8), 3.0]) == pytest.approx(11 / 9)
    assert trimmed_mean([7.0]) == 7.0
    assert trimmed_mean([]) == 0.0


def test_every_variant_runs_once_per_round_in_changing_order() -> None:
    names = ("bare", "ours", "other")
    ran = list(shuffled(names, 12, random.Random(1)))
    orders = {tuple(ran[start : start + 3]) for start in range(0, 36, 3)}
    assert len(ran) == 36
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len(orders) > 3


def test_the_collector_is_off_in_a_chunk_and_on_again_after_a_failure() -> None:
    def broken() -> None:
        with collector_off():
            assert not gc.isenabled()
            raise RuntimeError("server gone")

    with pytest.raises(RuntimeError, match="server gone"):
        broken()
    assert gc.isenabled()
