"""The window over latencies slides, and its quantiles are at most a sixteenth too high."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.latency import PARTS, LatencyWindow

LATENCIES = st.floats(1e-3, 100)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = LatencyWindow(100.0)
    window.add(9.0, 0.0)
    window.add(1.0, 50.0)
    assert window.quantile(1.0, 60.0) == 9.0
    assert window.count(100.0) == 2
    assert window.count(111.0) == 1
    assert window.quantile(1.0, 111.0) == 1.0
    assert window.count(161.0) == 0
    assert window.quantile(0.95, 161.0) == 0.0


@given(latencies=st.lists(LATENCIES, min_size=1), share=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_at_most_a_sixteenth_too_high(latencies: list[float], share: float) -> None:
    window = LatencyWindow(100.0)
    for number, latency in enumerate(latencies):
        window.add(latency, 90.0 * number / len(latencies))
    exact = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
    assert exact <= window.quantile(share, 90.0) <= exact * (1 + 1 / 16)


@given(steps=st.lists(st.floats(0, 50), max_size=60))
def test_nothing_of_the_window_is_missing_and_little_more_counts(steps: list[float]) -> None:
    window, now, times = LatencyWindow(100.0), 0.0, list[float]()
    for step in steps:
        now += step
        window.add(1.0, now)
        times.append(now)
    inside = sum(at > now - 100.0 for at in times)
    at_most = sum(at > now - 100.0 * (1 + 2 / PARTS) for at in times)
    assert inside <= window.count(now) <= at_most


@pytest.mark.parametrize("seconds", [1.0, 300.0])
def test_its_memory_does_not_grow_with_what_it_has_seen(seconds: float) -> None:
    window = LatencyWindow(seconds)
    for number in range(10_000):
        window.add(0.01, number * seconds / 1000)
    assert len(window._parts) <= PARTS + 1
