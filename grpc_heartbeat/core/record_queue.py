"""A bounded, sampled queue of records between the threads that make them and the one that writes them.

Theory of operation. A fault that ends one call mostly ends thousands, so whoever records must neither wait nor grow. ``offer``
takes a record if there is room and if the rate allows; otherwise it counts it as dropped, by cause. The rate is a bucket of
tokens that refills with time, so a burst as large as the bucket passes whole. ``take`` empties the queue.

Thread safety: ``offer`` from any thread, ``take`` from one. Counts may miss an increment when two threads drop at the same
instant; they are for people.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Record = TypeVar("Record")


class RecordQueue(Generic[Record]):
    """Holds at most ``capacity`` records and lets at most ``per_second`` in, on average.

    Attributes:
        full: Records dropped because the queue was full.
        over_rate: Records dropped because too many came.
        accepted: Records taken in.
    """

    def __init__(self, capacity: int, per_second: float, now: float) -> None:
        self._capacity = capacity
        self._rate = per_second
        self._tokens = float(capacity)
        self._refilled = now
        self._records: deque[Record] = deque()
        self.full = 0
        self.over_rate = 0
        self.accepted = 0

    def __len__(self) -> int:
        return len(self._records)

    def offer(self, record: Record, now: float) -> bool:
        """Take ``record`` in if there is room; returns whether it was."""
        if len(self._records) >= self._capacity:
            self.full += 1
            return False
        tokens = min(float(self._capacity), self._tokens + max(0.0, now - self._refilled) * self._rate)
        self._refilled = now
        if tokens < 1.0:
            self._tokens = tokens
            self.over_rate += 1
            return False
        self._tokens = tokens - 1.0
        self.accepted += 1
        self._records.append(record)
        return True

    def take(self) -> list[Record]:
        """Return what is queued, oldest first, and forget it."""
        records = self._records
        return [records.popleft() for _ in range(len(records))]
