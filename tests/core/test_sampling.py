"""Which beats a sampler wants, and what it calls slow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.sampling import ENOUGH, WINDOW, BeatSampler, Sampling


@given(st.integers(1, 50), st.integers(0, 300))
def test_every_nth_is_wanted_beginning_with_the_first(every: int, beats: int) -> None:
    sampling = Sampling(BeatSampler(every))
    wanted = [number for number in range(beats) if sampling.wants()]
    assert wanted == list(range(0, beats, every))


def test_nothing_is_slow_before_enough_is_known() -> None:
    sampling = Sampling(BeatSampler(10))
    assert not any(sampling.slow(10.0**number) for number in range(ENOUGH))


@given(st.floats(1.0, 10.0), st.floats(1e-5, 1.0))
def test_slow_is_more_than_the_factor_times_the_percentile(factor: float, usual: float) -> None:
    sampling = Sampling(BeatSampler(10, factor))
    for _ in range(WINDOW):
        sampling.slow(usual)
    assert sampling.slow(usual * factor * 1.01)
    assert not sampling.slow(usual * factor * 0.99)


def test_five_percent_of_outliers_do_not_hide_the_next() -> None:
    sampling = Sampling(BeatSampler(10, 2.0))
    found = [sampling.slow(5.0 if number % 25 == 24 else 1.0) for number in range(400)]
    assert sum(found[100:]) == 12


def test_what_lasts_becomes_usual() -> None:
    sampling = Sampling(BeatSampler(10, 2.0))
    for _ in range(WINDOW):
        sampling.slow(1.0)
    late = [sampling.slow(5.0) for _ in range(WINDOW)]
    assert late[0]
    assert not any(late[WINDOW // 2 :])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((-1,), ValueError),
        ((1.5,), TypeError),
        ((True,), TypeError),
        ((1, 0.5), ValueError),
        ((1, float("nan")), ValueError),
        ((1, float("inf")), ValueError),
        ((1, "2"), TypeError),
    ],
)
def test_bad_arguments_are_named(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^(every|slow_factor) must be"):
        BeatSampler(*arguments)
