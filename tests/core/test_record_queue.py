"""The queue of records: bounded, limited in rate, and counting what it drops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpc_heartbeat.core.record_queue import RecordQueue


def test_records_come_out_in_order_and_once() -> None:
    queue: RecordQueue[int] = RecordQueue(10, 1.0, 0.0)
    assert all(queue.offer(number, 0.0) for number in range(5))
    assert len(queue) == 5
    assert queue.take() == [0, 1, 2, 3, 4]
    assert queue.take() == []


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    queue: RecordQueue[int] = RecordQueue(3, 1.0, 0.0)
    assert [queue.offer(number, 0.0) for number in range(5)] == [True, True, True, False, False]
    assert (queue.accepted, queue.full, queue.over_rate) == (3, 2, 0)
    assert queue.take() == [0, 1, 2]


def test_the_rate_holds_once_the_burst_is_spent_and_refills() -> None:
    queue: RecordQueue[int] = RecordQueue(3, 2.0, 0.0)
    for number in range(3):
        queue.offer(number, 0.0)
    queue.take()
    assert not queue.offer(3, 0.4)
    assert queue.offer(4, 0.5)
    assert not queue.offer(5, 0.5)
    assert queue.over_rate == 2
    assert queue.take() == [4]
    assert [queue.offer(number, 100.0) for number in range(4)] == [True, True, True, False]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200), st.integers(1, 20), st.floats(0.1, 50))
def test_every_record_is_taken_or_counted_and_the_bounds_hold(
    steps: list[tuple[float, bool]], capacity: int, rate: float
) -> None:
    queue: RecordQueue[int] = RecordQueue(capacity, rate, 0.0)
    now, taken, offered = 0.0, [], 0
    for pause, take in steps:
        now += pause
        queue.offer(offered, now)
        offered += 1
        assert len(queue) <= capacity
        if take:
            taken += queue.take()
    taken += queue.take()
    assert taken == sorted(set(taken))
    assert len(taken) == queue.accepted
    assert queue.accepted + queue.full + queue.over_rate == offered
    assert queue.accepted <= capacity + rate * now + 1e-6
