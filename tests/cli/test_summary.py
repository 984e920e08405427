"""The statistics at the end of a ping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.cli.summary import nearest_rank, summarise

ROUND_TRIPS = st.lists(st.floats(0, 3600), max_size=200)


@given(ROUND_TRIPS, st.integers(0, 50))
def test_the_spread_is_in_order_and_made_of_measured_values(round_trips: list[float], lost: int) -> None:
    summary = summarise(round_trips, len(round_trips) + lost)
    assert summary.received == len(round_trips)
    if summary.spread is None:
        assert round_trips == []
        return
    spread = summary.spread
    assert spread.min == min(round_trips) <= spread.average <= max(round_trips) == spread.max
    assert spread.p95 in round_trips
    assert spread.average == pytest.approx(sum(round_trips) / len(round_trips))


@given(ROUND_TRIPS.filter(bool), st.integers(0, 100))
def test_nearest_rank_is_the_smallest_value_that_enough_others_do_not_exceed(values: list[float], percent: int) -> None:
    def share(value: float) -> int:
        return 100 * sum(other <= value for other in values)

    chosen = nearest_rank(sorted(values), percent)
    enough = [value for value in values if share(value) >= percent * len(values)]
    assert chosen == min(enough)


def test_p95_of_known_series() -> None:
    assert nearest_rank([float(value) for value in range(1, 101)], 95) == 95
    assert nearest_rank([float(value) for value in range(1, 21)], 95) == 19
    assert nearest_rank([float(value) for value in range(1, 20)], 95) == 19
    assert nearest_rank([4.0], 95) == 4


@pytest.mark.parametrize(("received", "sent", "loss"), [(0, 0, 0.0), (0, 3, 100.0), (3, 3, 0.0), (1, 4, 75.0)])
def test_loss(received: int, sent: int, loss: float) -> None:
    assert summarise([0.001] * received, sent).loss_percent == loss


def test_more_answers_than_beats_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers to 1 beats"):
        summarise([0.1, 0.2], 1)
