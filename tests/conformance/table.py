"""Reads docs/conformance.md: which limit works on which call path, by how it was installed.

Each installation is a heading ``### <stack>: <installation>`` followed by one table: rows are call paths, columns limits. A
cell is ``yes``; ``yes (n)``, which is ``yes`` by grpcio's private names and otherwise not, for the reason of note n; or
``— (n)``, not at all, for the reason of note n. Notes are the numbered items under the heading ``### Notes``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
LIMITS = ("connect", "header", "idle", "write", "total", "scope cancel", "scope expiry")
STACKS = ("sync", "aio")

_CELL = re.compile(r"(?:(yes)(?: \((\d+)\))?|— \((\d+)\))$")
_NOTE = re.compile(r"(\d+)\. \S")


class Cell(NamedTuple):
    """One claim of the page.

    Attributes:
        works: Whether the limit ends such a call.
        note: The number of the reason that limits the claim, or ``None``.
    """

    stack: str
    installation: str
    path: str
    limit: str
    works: bool
    note: int | None

    @property
    def by_private_names(self) -> bool:
        """Whether it works with grpcio's private names only."""
        return self.works and self.note is not None

    def __str__(self) -> str:
        return f"{self.installation}-{self.path}-{self.limit}"


class Page(NamedTuple):
    """What the page says."""

    cells: list[Cell]
    notes: list[int]


def read(text: str) -> Page:
    """Return what ``text`` says.

    Raises:
        ValueError: a line that looks like a table's cannot be understood; the message quotes it.
    """
    cells: list[Cell] = []
    notes: list[int] = []
    heading = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        elif line.startswith("|") and ": " in heading:
            try:
                cells += _row(heading, [part.strip() for part in line.strip("| ").split("|")])
            except ValueError as error:
                raise ValueError(f"{PAGE.name}:{number}: {error}: {line}") from None
        elif heading == "Notes" and (match := _NOTE.match(line)):
            notes.append(int(match[1]))
    return Page(cells, notes)


def _row(heading: str, parts: list[str]) -> list[Cell]:
    stack, installation = heading.split(": ", 1)
    path, *marks = parts
    if path == "call path":
        if tuple(marks) != LIMITS:
            raise ValueError(f"the columns must be {', '.join(LIMITS)}")
        return []
    if set(path) <= set("-: "):
        return []
    if len(marks) != len(LIMITS):
        raise ValueError(f"there must be {len(LIMITS)} cells")
    return [
        Cell(stack, installation, path.replace("`", ""), limit, *_mark(mark))
        for limit, mark in zip(LIMITS, marks, strict=True)
    ]


def _mark(mark: str) -> tuple[bool, int | None]:
    match = _CELL.match(mark)
    if match is None:
        raise ValueError(f"a cell must be 'yes', 'yes (n)' or '— (n)', not {mark!r}")
    note = match[2] or match[3]
    return match[1] is not None, None if note is None else int(note)


def page() -> Page:
    """Return what docs/conformance.md says."""
    return read(PAGE.read_text(encoding="utf-8"))


def cells(stack: str) -> list[Cell]:
    """Return the page's cells about ``stack``."""
    return [cell for cell in page().cells if cell.stack == stack]
