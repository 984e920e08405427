"""Pauses by table; those that double are tested with the heartbeat that uses them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.backoff import TABLE, Step, TableBackoff


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, [0.08, 0.08, 0.28, 0.28, 0.6, 0.6]),
        (0.5, [0.1, 0.1, 0.4, 0.4, 1.2, 1.2]),
        (1.0, [0.12, 0.12, 0.52, 0.52, 1.8, 1.8]),
    ],
)
def test_the_table(number: float, expected: list[float]) -> None:
    """1: 100 ms ±20 %, 3: 400 ms ±30 %, from 5 on 1,200 ms ±50 %."""
    backoff = TableBackoff(lambda: number)
    assert [backoff.pause() for _ in range(6)] == pytest.approx(expected)
    assert backoff.failures == 6
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.pause() == pytest.approx(expected[0])


@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0, 0.999))
def test_any_table_is_followed(steps: list[tuple[float, float]], number: float) -> None:
    table: list[Step] = [(1 + 2 * index, seconds, share) for index, (seconds, share) in enumerate(steps)]
    backoff = TableBackoff(lambda: number, table)
    for failures in range(1, 2 * len(table) + 3):
        seconds, share = steps[min((failures - 1) // 2, len(steps) - 1)]
        assert seconds * (1 - share) * (1 - 1e-9) <= backoff.pause() <= seconds * (1 + share)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ((), r"must begin with 1 failure and rise; got \[\]"),
        (TABLE[1:], "must begin with 1 failure"),
        ((*TABLE, (5, 2.0, 0.1)), "rise"),
        (((1, 0.0, 0.1),), "step for 1 failures must pause for more than 0 s"),
        (((1, 1.0, 1.5),), "share of 0 to 1; got 1.0, 1.5"),
    ],
)
def test_a_wrong_table_is_refused(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableBackoff(lambda: 0.0, table)
