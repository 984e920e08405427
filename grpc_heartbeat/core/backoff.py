"""Exponential back-off with jitter, for reopening what failed."""

from __future__ import annotations

from collections.abc import Callable

JITTER = 0.2
"""Each pause is spread by ±20 %, so that clients which lost one server together do not come back together."""


class Backoff:
    """Pauses that double from ``minimum`` to ``maximum`` seconds until :meth:`reset`.

    Args:
        random: Returns a number in [0, 1), as ``random.random`` does.
    """

    __slots__ = ("_maximum", "_minimum", "_next", "_random")

    def __init__(self, minimum: float, maximum: float, random: Callable[[], float]) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._next = minimum
        self._random = random

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt, at most ``maximum`` and its jitter."""
        pause = self._next
        self._next = min(2 * pause, self._maximum)
        return pause * (1 - JITTER + 2 * JITTER * self._random())

    def reset(self) -> None:
        """Start over from the minimum: the last attempt held."""
        self._next = self._minimum
