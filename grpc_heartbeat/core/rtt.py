"""Round-trip times of the last beats."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 16
"""Samples that the figures are made from."""


@dataclass(frozen=True, slots=True)
class RttStats:
    """Round-trip times in seconds over the last :data:`WINDOW` samples."""

    last: float
    min: float
    avg: float
    max: float
    samples: int


class RttWindow:
    """The newest samples, oldest dropped first."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=WINDOW)

    def add(self, rtt: float) -> None:
        """Add one sample, in seconds."""
        self._samples.append(rtt)

    def stats(self) -> RttStats | None:
        """Return the figures, or ``None`` before the first sample."""
        samples = self._samples
        if not samples:
            return None
        average = sum(samples) / len(samples)
        return RttStats(samples[-1], min(samples), average, max(samples), len(samples))
