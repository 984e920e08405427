"""The statistics of the measurements, and how they are interleaved."""

from __future__ import annotations

import gc
import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import Quartiles, Sample, Section, interleave, measure, quartiles, ratios, rows

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
    """Both variants suffer from the speed of the same round, so it cancels out."""
    found = ratios([speed * factor for speed in speeds], speeds)
    for value in (found.q1, found.median, found.q3):
        assert value == pytest.approx(factor)


def test_rounds_without_a_reference_do_not_count() -> None:
    assert ratios([1.0, 3.0], [0.0, 2.0]) == Quartiles(1.5, 1.5, 1.5)
    assert ratios([1.0], [0.0]) == Quartiles(1.0, 1.0, 1.0)


def test_pairs_must_be_complete() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_rows_compare_with_the_bare_sample_of_the_same_round() -> None:
    samples = {
        "ours": [Sample(2e-6, 3e-6), Sample(40e-6, 30e-6)],
        "bare": [Sample(1e-6, 1e-6), Sample(20e-6, 10e-6)],
    }
    bare, ours = rows(SECTION, samples)
    assert (bare.variant, ours.variant, ours.side, ours.rounds) == ("bare", "ours", "client", 2)
    assert bare.wall_ratio == bare.cpu_ratio == Quartiles(1.0, 1.0, 1.0)
    assert ours.wall_ratio == Quartiles(2.0, 2.0, 2.0)
    assert ours.cpu_ratio.median == pytest.approx(3.0)
    assert bare.wall_us == pytest.approx(10.5)
    assert ours.wall_us == pytest.approx(21.0)


def test_every_variant_runs_once_per_round_in_changing_order() -> None:
    ran: list[str] = []
    rounds: list[int] = []

    def batch(name: str) -> Sample:
        assert not gc.isenabled()
        ran.append(name)
        return Sample(len(ran), 0.0)

    names = ("bare", "ours", "other")
    batches = {name: partial(batch, name) for name in names}
    samples = interleave(batches, 12, random.Random(1), lambda: rounds.append(len(ran)))
    orders = {tuple(ran[start : start + 3]) for start in range(0, 36, 3)}
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len(orders) > 3
    assert rounds == list(range(3, 37, 3))
    assert gc.isenabled()
    for name in names:
        assert [int(sample.wall) for sample in samples[name]] == [
            at + 1 for at, ran_name in enumerate(ran) if ran_name == name
        ]


def test_the_collector_is_on_again_after_a_failure() -> None:
    def broken() -> Sample:
        raise RuntimeError("server gone")

    with pytest.raises(RuntimeError, match="server gone"):
        interleave({"bare": broken}, 1, random.Random(1))
    assert gc.isenabled()


def test_a_batch_is_divided_by_its_calls() -> None:
    counts: list[int] = []
    clock = iter([10.0, 10.5])
    sample = measure(counts.append, 50, lambda: next(clock))
    assert counts == [50]
    assert sample.cpu == pytest.approx(0.01)
    assert 0 <= sample.wall < 1
