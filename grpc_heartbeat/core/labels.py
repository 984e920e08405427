"""Label values that strangers choose, kept to a bounded number.

A peer says which service it is and in which zone, and a client which method it calls. Each new value of a label is a new time
series for ever, so a set of labels holds the first values it sees and calls the others ``other``.

One instance may be used by several threads: two new values at the same instant may make it exceed its bound by one each.
"""

from __future__ import annotations

OTHER = "other"
"""What every value beyond the bound is called."""

UNKNOWN = "unknown"
"""What an empty value is called."""

LONGEST = 128
"""Characters of a value that are kept."""


class BoundedLabel:
    """The values of one label; ``most`` of them are told apart."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1; got {most!r}")
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return ``value``, or ``other`` when there are too many already."""
        if value in self._known:
            return value
        if not value:
            return UNKNOWN
        value = value[:LONGEST]
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
