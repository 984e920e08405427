"""Pauses by table; those that double are tested with the heartbeat that uses them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.config import BACKOFF_TABLE, BackoffStep, HeartbeatPolicy, Identity
from grpc_heartbeat.core.backoff import TableBackoff
from grpc_heartbeat.core.frames import Ack
from grpc_heartbeat.core.heartbeat_client import HeartbeatClient
from grpc_heartbeat.core.heartbeat_events import BeatAcked, StreamFailed


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
    table: list[BackoffStep] = [(1 + 2 * index, seconds, share) for index, (seconds, share) in enumerate(steps)]
    backoff = TableBackoff(lambda: number, table)
    for failures in range(1, 2 * len(table) + 3):
        seconds, share = steps[min((failures - 1) // 2, len(steps) - 1)]
        assert seconds * (1 - share) * (1 - 1e-9) <= backoff.pause() <= seconds * (1 + share)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ((), ValueError, r"the steps of HeartbeatPolicy.backoff must begin with 1 failure and rise; got \[\]"),
        (BACKOFF_TABLE[1:], ValueError, r"must begin with 1 failure and rise; got \[3, 5\]"),
        ((*BACKOFF_TABLE, (5, 2.0, 0.1)), ValueError, "rise"),
        (((1, 0.0, 0.1),), ValueError, "seconds in HeartbeatPolicy.backoff must be more than 0"),
        (((1, 1.0, 1.5),), ValueError, "spread in HeartbeatPolicy.backoff must be a share from 0 to 1; got 1.5"),
        (((0, 1.0, 0.5),), ValueError, "failures in HeartbeatPolicy.backoff must be at least 1; got 0"),
        (((1.5, 1.0, 0.5),), TypeError, "failures in HeartbeatPolicy.backoff must be an integer, not float"),
        (((1, 1.0),), TypeError, r"a step of HeartbeatPolicy.backoff must be \(failures, seconds, spread\)"),
    ],
)
def test_a_wrong_table_is_refused(table: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HeartbeatPolicy(backoff=table)


def test_a_heartbeat_may_pause_by_table() -> None:
    policy = HeartbeatPolicy(backoff=[*BACKOFF_TABLE])  # type: ignore[arg-type]  # any iterable will do
    assert policy.backoff == BACKOFF_TABLE
    client = HeartbeatClient(policy, Identity(), 0.0, lambda: 0.5)
    assert [client.pause() for _ in range(5)] == pytest.approx([0.1, 0.1, 0.4, 0.4, 1.2])
    for _ in range(2):
        client.publish([StreamFailed(1.0, "why", "lost", True)])
    assert client.snapshot.failures == 2
    client.publish([BeatAcked(2.0, 1, 0.1, Ack(1))])
    assert client.snapshot.failures == 0
    assert client.pause() == pytest.approx(0.1)
