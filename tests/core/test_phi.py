"""The detector against the standard library's normal distribution, and its bounds."""

from __future__ import annotations

import itertools
import math
import statistics
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grpc_heartbeat.core.phi import MIN_DEVIATION, THRESHOLD, PhiDetector

DELAYS = st.floats(0.0001, 10)


def taught(delays: list[float], **options: float) -> PhiDetector:
    detector = PhiDetector(1.0, **options)  # type: ignore[arg-type]  # window is an integer, and not among them
    for delay in delays:
        detector.add(delay)
    return detector


@given(st.lists(DELAYS, min_size=1, max_size=60))
def test_within_the_window_the_estimate_is_exact(delays: list[float]) -> None:
    detector = taught(delays)
    assert detector.samples == len(delays)
    assert detector.mean == pytest.approx(statistics.fmean(delays))
    assert detector.deviation == pytest.approx(max(MIN_DEVIATION, statistics.pstdev(delays)), abs=1e-6)


@given(st.lists(DELAYS, min_size=2, max_size=30), st.floats(0, 20))
def test_phi_is_the_tail_of_the_normal_distribution(delays: list[float], waited: float) -> None:
    detector = taught(delays)
    tail = 1 - statistics.NormalDist(detector.mean, detector.deviation).cdf(waited)
    assume(tail > 1e-9)  # below, 1 - cdf has lost its digits
    assert detector.phi(waited) == pytest.approx(-math.log10(tail), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("sigmas", "phi"), [(0, 0.30103), (1.2815515655, 1.0), (5.6120012442, 8.0), (37.0, 299.2529)])
def test_phi_of_known_quantiles(sigmas: float, phi: float) -> None:
    """The 90 % and the one of φ = 8, and one so far out that the error function underflows soon."""
    detector = taught([1.0, 3.0])
    assert detector.deviation == 1.0
    assert detector.phi(2.0 + sigmas) == pytest.approx(phi, rel=1e-4)


@given(st.lists(DELAYS, min_size=1, max_size=20), st.lists(st.floats(0, 400), min_size=2, max_size=10))
def test_phi_never_falls_while_waiting(delays: list[float], waits: list[float]) -> None:
    detector = taught(delays)
    phis = [detector.phi(waited) for waited in sorted(waits)]
    assert all(phi >= 0 for phi in phis)
    assert all(later >= earlier - 1e-6 * earlier for earlier, later in itertools.pairwise(phis))


@given(st.lists(DELAYS, max_size=20), st.floats(0.1, 250), st.floats(0, 5))
def test_patience_is_where_phi_reaches_the_threshold(delays: list[float], threshold: float, pause: float) -> None:
    detector = taught(delays, accepted_pause=pause)
    patience = detector.patience(threshold)
    assert detector.phi(patience) == pytest.approx(threshold, rel=1e-6)
    assert detector.patience(threshold, accept_pause=False) == pytest.approx(patience - pause)


@given(st.lists(DELAYS, min_size=1, max_size=50), st.floats(0.1, 5))
def test_the_maximum_holds_whatever_was_seen(delays: list[float], maximum: float) -> None:
    detector = taught(delays, maximum=maximum)
    assert detector.patience() <= maximum
    assert detector.phi(maximum) == math.inf
    assert detector.phi(maximum / 2) < math.inf


def test_a_change_of_level_is_learnt_within_some_windows() -> None:
    detector = PhiDetector(1.0, window=50, min_deviation=0.001)
    for number in range(500):
        detector.add(0.010 + 0.001 * (number % 2))
    calm = detector.patience()
    assert calm < 0.02
    for number in range(500):
        detector.add(0.200 + 0.001 * (number % 2))
    assert detector.mean == pytest.approx(0.2005, rel=0.01)
    assert detector.patience() == pytest.approx(0.2 + calm - 0.01, abs=0.03)


@given(st.integers())
def test_the_estimate_stays_sane_over_many_samples(seed: int) -> None:
    random = Random(seed)
    delays = [random.uniform(0.001, 1) for _ in range(3000)]
    detector = taught(delays)
    assert min(delays) <= detector.mean <= max(delays)
    assert detector.deviation <= max(MIN_DEVIATION, max(delays) - min(delays))


def test_before_the_first_sample_the_expectation_counts() -> None:
    detector = PhiDetector(2.0)
    assert (detector.mean, detector.deviation, detector.samples) == (2.0, 0.5, 0)
    assert detector.patience(THRESHOLD) == pytest.approx(2.0 + 5.612 * 0.5, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"expected": -1},
        {"accepted_pause": -1},
        {"min_deviation": 0},
        {"maximum": 0},
        {"window": 1},
        {"expected": math.nan},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PhiDetector(**{"expected": 1.0, **options})  # type: ignore[arg-type]  # window is an integer
    with pytest.raises(ValueError, match="threshold must be more than 0 and at most 300; got 0"):
        PhiDetector(1.0).patience(0)
