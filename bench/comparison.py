"""Figures of several designs side by side: what is printed as a block of lines, and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """One figure of several designs.

    Args:
        section: The measurement that it belongs to.
        name: What it is.
        unit: Of the values.
        values: By design, in the order in which they are shown; ``None`` where there is none.
        ratio: Two designs, of which the first one's value is divided by the second's. Smaller values are better.
        most: What was promised for a design at the most.
        notes: What is to be said below the figures of the section.
    """

    section: str
    name: str
    unit: str
    values: Mapping[str, float | None]
    ratio: tuple[str, str] | None = None
    most: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def times(self) -> float | None:
        """How many times larger the first design's value is than the second's."""
        if self.ratio is None:
            return None
        first, second = (self.values.get(design) for design in self.ratio)
        return first / second if first is not None and second else None

    def content(self) -> dict[str, Any]:
        """Return what JSON has of it."""
        return {**asdict(self), "times": self.times}


def plain(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as text with aligned columns, one block per section."""
    sections = list(dict.fromkeys(comparison.section for comparison in comparisons))
    return "\n".join(_block([one for one in comparisons if one.section == section]) for section in sections)


def write_json(path: Path, comparisons: Sequence[Comparison], **more: Any) -> None:
    """Write the comparisons, and what else is to be said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**more, "comparisons": [one.content() for one in comparisons]}, indent=1) + "\n")


def _block(comparisons: Sequence[Comparison]) -> str:
    first = comparisons[0]
    designs = list(first.values)
    ratio = next((" / ".join(one.ratio) for one in comparisons if one.ratio is not None), "")
    lines = [[first.section, *designs, ratio, "promised" if any(one.most for one in comparisons) else ""]]
    for one in comparisons:
        times = "" if one.times is None else f"x {one.times:.3g}"
        values = (_text(one.values[design]) for design in designs)
        lines.append([f"  {one.name}, {one.unit}".rstrip(", "), *values, times, _promised(one)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    notes = dict.fromkeys(note for one in comparisons for note in one.notes)
    return "\n" + "\n".join([*(_aligned(line, widths) for line in lines), *(f"  {note}" for note in notes)])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def _promised(one: Comparison) -> str:
    return ", ".join(f"{design} at most {most:g}" for design, most in one.most.items())
