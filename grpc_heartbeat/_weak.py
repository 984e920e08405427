"""Looking through weak tables that other threads add to.

A weak set or dictionary is iterated in Python, so a thread that adds to it meanwhile ends the iteration by a ``RuntimeError``.
Those who add are many and must not wait; those who look through are few and can begin again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def listed(look: Callable[[], Iterable[T]]) -> list[T]:
    """Return what ``look()`` yields, from the start again if the table grew on the way."""
    while True:
        try:
            return list(look())
        except RuntimeError:  # another thread added
            pass
