"""Figures that are no ratios to bare grpcio, and what takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        section: The measurement that it belongs to.
        name: What it is.
        value: How much, in ``unit``.
        count: How many times it was measured.
        most, least: What was promised, if anything was.
    """

    section: str
    name: str
    value: float
    unit: str
    count: int
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True)
class Micro:
    """A measurement: its name and what does it, ``times`` times or in proportion to that."""

    name: str
    run: Callable[[int], list[Figure]]
    times: int
    quick: int

    def __str__(self) -> str:
        return f"micro {self.name}"
