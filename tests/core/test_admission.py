"""Admission in virtual time: whose limit holds, how many are rejected, and what is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.admission import (
    MOST_METHODS,
    OTHERS,
    SLICES,
    Admission,
    InboundLimits,
    MethodStats,
    RejectBudget,
)


@pytest.mark.parametrize(
    ("default", "maximum", "left", "own"),
    [
        (None, None, None, None),
        (None, None, 5.0, None),
        (8.0, None, None, 8.0),
        (8.0, None, 60.0, None),
        (8.0, None, 1.0, None),
        (None, 10.0, None, 10.0),
        (None, 10.0, 60.0, 10.0),
        (None, 10.0, 9.0, None),
        (None, 10.0, 10.0, None),
        (8.0, 10.0, None, 8.0),
        (8.0, 5.0, None, 5.0),
        (8.0, 10.0, 9.0, None),
        (8.0, 10.0, 60.0, 10.0),
    ],
)
def test_the_server_ends_what_its_client_does_not(
    default: float | None, maximum: float | None, left: float | None, own: float | None
) -> None:
    assert InboundLimits(default, maximum).own(left) == own


WINDOW = 10.0


@given(
    st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.9, 1.0]),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300),
)
def test_rejections_stay_below_their_fraction_of_every_window(fraction: float, steps: list[tuple[float, bool]]) -> None:
    budget = RejectBudget(fraction, WINDOW)
    now = 1e6
    seen: list[tuple[int, bool]] = []
    for pause, short in steps:
        now += pause
        budget.arrived(now)
        slot = int(now // (WINDOW / SLICES))
        window = [rejected for at, rejected in seen if at > slot - SLICES]
        allowed = sum(window) + 1 <= fraction * (len(window) + 1)
        rejected = short and budget.take()
        assert rejected == (short and allowed)
        seen.append((slot, rejected))


@pytest.mark.parametrize(("fraction", "rejected"), [(0.0, 0), (0.2, 200), (1.0, 1000)])
def test_when_every_rpc_comes_too_late_the_fraction_of_them_is_rejected(fraction: float, rejected: int) -> None:
    admission = Admission(enforce=True, max_reject_fraction=fraction, window=WINDOW)
    counts = admission.counts("/a/b")
    assert sum(admission.rejects(counts, True, 5.0) for _ in range(1000)) == rejected
    assert admission.stats().rejected == rejected
    assert admission.stats().would_reject == 1000


def test_in_the_dark_nothing_is_rejected_but_counted() -> None:
    admission = Admission(max_reject_fraction=1.0)
    counts = admission.counts("/a/b")
    assert [admission.rejects(counts, short, 0.0) for short in (True, False, True)] == [False] * 3
    admission.expired(counts)
    assert admission.stats().methods == {"/a/b": MethodStats(3, 2, 0, 1)}


def test_methods_are_counted_apart_and_together() -> None:
    admission = Admission(enforce=True, max_reject_fraction=1.0)
    one, two = admission.counts("/a/one"), admission.counts("/a/two")
    assert admission.counts("/a/one") is one
    admission.rejects(one, False, 0.0)
    admission.rejects(two, True, 0.0)
    admission.expired(two)
    stats = admission.stats()
    assert stats.methods == {"/a/one": MethodStats(1, 0, 0, 0), "/a/two": MethodStats(1, 1, 1, 1)}
    assert (stats.seen, stats.would_reject, stats.rejected, stats.expired_in_queue) == (2, 1, 1, 1)


def test_names_that_strangers_make_up_are_counted_together() -> None:
    admission = Admission()
    for number in range(3 * MOST_METHODS):
        admission.rejects(admission.counts(f"/a/{number}"), False, 0.0)
    stats = admission.stats()
    assert len(stats.methods) == MOST_METHODS + 1
    assert stats.methods[OTHERS].seen == 2 * MOST_METHODS
    assert stats.seen == 3 * MOST_METHODS


def test_queue_delay_is_summed_up() -> None:
    admission = Admission()
    assert admission.stats().queue_delay.count == 0
    for delay in [0.001] * 98 + [0.5, 0.2]:
        admission.delayed(delay)
    summary = admission.stats().queue_delay
    assert (summary.count, summary.max) == (100, 0.5)
    assert summary.p50 == pytest.approx(0.001, rel=0.05)
    assert admission.stats().last_queue_delay == 0.2


def test_what_is_older_than_the_window_is_forgotten_slice_by_slice() -> None:
    budget = RejectBudget(0.5, WINDOW)
    for second in range(10):
        budget.arrived(100.0 + second)
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]
    budget.arrived(114.0)  # of the first ten, those at 105 to 109 are left, and the five rejections at 109
    assert not budget.take()
    budget.arrived(125.0)  # none of them is left
    budget.arrived(125.0)
    assert [budget.take() for _ in range(2)] == [True, False]
