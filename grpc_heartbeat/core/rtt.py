"""Round-trip times of the last beats."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 16
"""Samples that the figures are made from."""

OUTLIER_DEVIATIONS = 3.0
"""A sample farther than this many standard deviations above the window's mean is left out of ``avg`` and ``p75``."""


@dataclass(frozen=True, slots=True)
class RttStats:
    """Round-trip times in seconds over the last :data:`WINDOW` samples.

    ``avg`` and ``p75`` (three out of four samples took no longer) leave out outliers, one lost packet for example; ``outliers``
    counts them. The other figures are of all samples.
    """

    last: float
    min: float
    avg: float
    max: float
    samples: int
    p75: float
    outliers: int


class RttWindow:
    """The newest samples, oldest dropped first.

    Outliers stay in the window, so that a lasting change is not taken for a row of them: the window's mean follows it.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=WINDOW)

    def add(self, rtt: float) -> None:
        """Add one sample, in seconds."""
        self._samples.append(rtt)

    def stats(self) -> RttStats | None:
        """Return the figures, or ``None`` before the first sample."""
        samples = tuple(self._samples)  # at once: another thread may add
        if not samples:
            return None
        count = len(samples)
        mean = sum(samples) / count
        deviation = math.sqrt(sum((sample - mean) ** 2 for sample in samples) / count)
        limit = mean + OUTLIER_DEVIATIONS * deviation
        ordered = sorted(samples)
        kept = [sample for sample in ordered if sample <= limit] or ordered
        average = sum(kept) / len(kept)
        p75 = kept[math.ceil(0.75 * len(kept)) - 1]
        return RttStats(samples[-1], ordered[0], average, ordered[-1], count, p75, count - len(kept))
