"""The figures of the window."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.rtt import OUTLIER_DEVIATIONS, WINDOW, RttStats, RttWindow

RTTS = st.floats(0.0001, 10)


def stats(samples: list[float]) -> RttStats:
    window = RttWindow()
    for sample in samples:
        window.add(sample)
    found = window.stats()
    assert found is not None
    return found


@given(st.lists(RTTS, min_size=1, max_size=50))
def test_the_figures_are_those_of_the_window_without_its_outliers(samples: list[float]) -> None:
    kept = samples[-WINDOW:]
    limit = statistics.fmean(kept) + OUTLIER_DEVIATIONS * statistics.pstdev(kept)
    usual = [sample for sample in kept if sample <= limit * (1 + 1e-9)]
    found = stats(samples)
    assert (found.last, found.min, found.max, found.samples) == (kept[-1], min(kept), max(kept), len(kept))
    assert found.outliers == len(kept) - len(usual)
    assert found.avg == pytest.approx(statistics.fmean(usual))
    assert sum(sample <= found.p75 for sample in usual) >= 0.75 * len(usual)
    assert sum(sample < found.p75 for sample in usual) < 0.75 * len(usual)


def test_one_lost_packet_changes_neither_the_average_nor_the_percentile() -> None:
    calm = [0.010 + 0.0001 * number for number in range(15)]
    found = stats([*calm[:7], 0.2, *calm[7:]])
    assert (found.outliers, found.max) == (1, 0.2)
    assert found.avg == pytest.approx(statistics.fmean(calm))
    assert found.p75 == calm[11]


def test_a_lasting_change_is_followed() -> None:
    found = stats([0.01] * 16 + [0.1] * 8)
    assert found.outliers == 0
    assert found.p75 == 0.1
    assert stats([0.01] * 16 + [0.1] * 16).avg == pytest.approx(0.1)


def test_percentiles_of_a_few_samples() -> None:
    assert [stats(list(range(1, count + 1))).p75 for count in range(1, 9)] == [1, 2, 3, 3, 4, 5, 6, 6]
