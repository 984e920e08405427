"""Pauses between attempts at what failed, with jitter, so that clients which lost one server do not come back together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from grpc_heartbeat.config import BACKOFF_TABLE, BackoffStep

JITTER = 0.2
"""Each pause of :class:`Backoff` is spread by ±20 %."""


class Pauses(Protocol):
    """What gives pauses: :class:`Backoff` or :class:`TableBackoff`."""

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        ...

    def reset(self) -> None:
        """Start over: the last attempt held."""
        ...


class Backoff:
    """Pauses that double from ``minimum`` to ``maximum`` seconds until :meth:`reset`.

    Args:
        random: Returns a number in [0, 1), as ``random.random`` does.
    """

    __slots__ = ("_maximum", "_minimum", "_next", "_random")

    def __init__(self, minimum: float, maximum: float, random: Callable[[], float]) -> None:
        self._maximum = maximum
        self._minimum = minimum
        self._next = minimum
        self._random = random

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt, at most ``maximum`` and its jitter."""
        pause = self._next
        self._next = min(2 * pause, self._maximum)
        return _spread(pause, JITTER, self._random)

    def reset(self) -> None:
        """Start over from the minimum: the last attempt held."""
        self._next = self._minimum


class TableBackoff:
    """Pauses by the number of failures in a row, until :meth:`reset`.

    Args:
        random: Returns a number in [0, 1), as ``random.random`` does.
        table: Steps as ``HeartbeatPolicy.backoff`` checks them; the last one holds for all failures that follow.
    """

    __slots__ = ("_random", "_table", "failures")

    def __init__(self, random: Callable[[], float], table: Sequence[BackoffStep] = BACKOFF_TABLE) -> None:
        self._random = random
        self._table = tuple(table)
        self.failures = 0
        """Failures in a row so far: calls of :meth:`pause` since the last :meth:`reset`."""

    def pause(self) -> float:
        """Count a failure and return the seconds to wait before the next attempt."""
        self.failures += 1
        _, seconds, spread = max(step for step in self._table if step[0] <= self.failures)
        return _spread(seconds, spread, self._random)

    def reset(self) -> None:
        """Start over: the last attempt held."""
        self.failures = 0


def _spread(seconds: float, share: float, random: Callable[[], float]) -> float:
    return seconds * (1 - share + 2 * share * random())
