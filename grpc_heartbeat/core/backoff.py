"""Pauses between attempts at what failed, with jitter, so that clients which lost one server do not come back together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

JITTER = 0.2
"""Each pause of :class:`Backoff` is spread by ±20 %."""

Step: TypeAlias = tuple[int, float, float]
"""From this many failures in a row: a pause of so many seconds, spread by ± this share of it."""

TABLE: tuple[Step, ...] = ((1, 0.1, 0.2), (3, 0.4, 0.3), (5, 1.2, 0.5))
"""Short pauses first, because most failures end at once; wide jitter last, because then many clients wait."""


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
        table: Steps by rising number of failures; the first is for 1, the last holds for all that follow.

    Raises:
        ValueError: the table is empty, does not begin with 1 failure or does not rise, or a step is out of range.
    """

    __slots__ = ("_random", "_table", "failures")

    def __init__(self, random: Callable[[], float], table: Sequence[Step] = TABLE) -> None:
        _check(table)
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


def _check(table: Sequence[Step]) -> None:
    failures = [step[0] for step in table]
    if not failures or failures[0] != 1 or failures != sorted(set(failures)):
        raise ValueError(f"the steps of a back-off table must begin with 1 failure and rise; got {failures}")
    for number, seconds, share in table:
        if not (0 < seconds < 1e8 and 0 <= share <= 1):
            raise ValueError(
                f"the step for {number} failures must pause for more than 0 s and spread it by a share of 0 to 1; "
                f"got {seconds}, {share}"
            )
