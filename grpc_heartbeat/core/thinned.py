"""Values of a busy source, kept until somebody asks for them: all of them, or so many that are evenly chosen.

Theory of operation. A histogram answers what is typical and what is rare, and for that some thousand values are as good as a
million. So each value is kept until there are ``most``. Then every second one is dropped, and from there on only every second
value is kept, later every fourth, and so on, until ``take`` empties it: what is kept is always every nth value. How many there
were in all is counted exactly, for each key.

One instance may be used by one thread at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Key = TypeVar("Key", bound=Hashable)


class Thinned(Generic[Key, Value]):
    """Keeps at most ``most`` values.

    Attributes:
        counts: How many there were of each key, since the beginning.
    """

    __slots__ = ("_every", "_kept", "_most", "_seen", "counts")

    def __init__(self, most: int) -> None:
        if most < 2:
            raise ValueError(f"most must be at least 2; got {most!r}")
        self._most = most
        self._kept: list[Value] = []
        self._every = 1
        self._seen = 0
        self.counts: Counter[Key] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def wants(self, key: Key) -> bool:
        """Count a value of ``key``; return whether it is one to ``keep``."""
        self.counts[key] += 1
        wanted = self._seen % self._every == 0
        self._seen += 1
        return wanted

    def keep(self, value: Value) -> None:
        """Keep a value that is wanted."""
        kept = self._kept
        kept.append(value)
        if len(kept) >= self._most:
            del kept[1::2]
            self._every *= 2

    def take(self) -> list[Value]:
        """Return what is kept, oldest first, and begin anew."""
        kept, self._kept = self._kept, []
        self._every = 1
        self._seen = 0
        return kept
