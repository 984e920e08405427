"""A sketch of a distribution of seconds: fixed size, O(1) to add to, quantiles that are at most 1/16 too high.

Theory of operation. Each power of two is divided into 16 equal buckets, from a microsecond to about an hour; what is outside
counts in the first or the last bucket. A quantile is the upper end of its bucket, but not more than the largest value seen.
Buckets that were never hit take no memory. One thread adds; any thread may read, and then sees a recent state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_PARTS = 16
_LOWEST = -20  # frexp's exponent of the first power: values up to 2**-20 s share bucket 0
_HIGHEST = 12
_LAST = (_HIGHEST - _LOWEST) * _PARTS


@dataclass(frozen=True)
class Summary:
    """What a sketch holds; all in seconds but ``count``. Without values, all are 0."""

    count: int
    p50: float
    p99: float
    max: float


class Sketch:
    """Counts per bucket, and the largest value."""

    __slots__ = ("_counts", "max")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.max = 0.0

    def add(self, seconds: float) -> None:
        """Count one value; a negative one counts as 0."""
        fraction, exponent = math.frexp(seconds)
        if seconds <= 0 or exponent <= _LOWEST:
            bucket = 0
        else:
            bucket = min(_LAST, (exponent - _LOWEST - 1) * _PARTS + int((fraction - 0.5) * 2 * _PARTS) + 1)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        if seconds > self.max:
            self.max = seconds

    def quantile(self, share: float) -> float:
        """Return the value that ``share`` of the values do not exceed; 0 without values."""
        return _quantile(self._counts.copy(), share, self.max)

    def summary(self) -> Summary:
        """Return count, median, 99th percentile and maximum."""
        counts, most = self._counts.copy(), self.max
        return Summary(sum(counts.values()), _quantile(counts, 0.5, most), _quantile(counts, 0.99, most), most)

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """Return the sketch of all their values."""
        merged = cls()
        for sketch in sketches:
            for bucket, count in sketch._counts.copy().items():
                merged._counts[bucket] = merged._counts.get(bucket, 0) + count
            merged.max = max(merged.max, sketch.max)
        return merged


def _quantile(counts: dict[int, int], share: float, most: float) -> float:
    wanted = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return most if bucket == _LAST else min(most, _upper_end(bucket))
    return 0.0


def _upper_end(bucket: int) -> float:
    power, part = divmod(bucket - 1, _PARTS)
    return math.ldexp(0.5 + (part + 1) / (2 * _PARTS), power + _LOWEST + 1) if bucket else math.ldexp(1, _LOWEST)
