"""What a series of beats amounts to: loss, and the spread of the round-trip times. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, mean, 95th percentile and largest of some round-trip times, in seconds."""

    min: float
    average: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a ``ping``: how many beats were sent and answered, and how fast.

    ``spread`` is ``None`` when nothing was answered.
    """

    sent: int
    received: int
    spread: Spread | None

    @property
    def loss_percent(self) -> float:
        """Share of the beats without an answer, 0 to 100; 0 when none was sent."""
        return 100.0 * (self.sent - self.received) / self.sent if self.sent else 0.0


def summarise(round_trips: Iterable[float], sent: int) -> Summary:
    """Return the summary of ``sent`` beats of which those with the given round-trip times (seconds) were answered.

    Raises:
        ValueError: more answers than beats.
    """
    ordered = sorted(round_trips)
    if len(ordered) > sent:
        raise ValueError(f"{len(ordered)} answers to {sent} beats")
    return Summary(sent, len(ordered), _spread(ordered) if ordered else None)


def _spread(ordered: list[float]) -> Spread:
    smallest, largest = ordered[0], ordered[-1]
    average = min(max(math.fsum(ordered) / len(ordered), smallest), largest)  # division rounds: a mean stays between
    return Spread(smallest, average, nearest_rank(ordered, 95), largest)


def nearest_rank(ordered: list[float], percent: int) -> float:
    """Return the ``percent``-th percentile of sorted, non-empty values by nearest rank.

    That is the smallest value which at least ``percent`` % of the values do not exceed: always a value that was
    measured, never an interpolation. With fewer than 20 values the 95th percentile is therefore the maximum.
    """
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
