"""Sums over sources that come and go, such as servers and pools: a counter must not fall when one of them is gone."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any, TypeAlias

Counts: TypeAlias = tuple[float, ...]


class Grown:
    """Sums by key over sources that come and go. What a source has counted stays in them when it is gone."""

    def __init__(self) -> None:
        self._seen: weakref.WeakKeyDictionary[Any, Counts] = weakref.WeakKeyDictionary()
        self._sums: dict[str, Counts] = {}
        self._lock = threading.Lock()

    def sums(self, sources: Iterable[tuple[str, Any, Counts]]) -> list[tuple[str, Counts]]:
        """Return the sums by key, after a look at ``sources``: keys, sources and what these have counted so far."""
        with self._lock:
            for key, source, counts in sources:
                seen = self._seen.get(source, (0.0,) * len(counts))
                now = tuple(map(max, seen, counts))
                self._seen[source] = now
                sums = self._sums.get(key, (0.0,) * len(counts))
                self._sums[key] = tuple(total + new - old for total, new, old in zip(sums, now, seen, strict=True))
            return list(self._sums.items())
