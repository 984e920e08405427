"""The results as tables for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from bench.comparison import Comparison
from bench.figure import Figure
from bench.harness import Quartiles, Row

if TYPE_CHECKING:
    from rich.table import Table

Cells: TypeAlias = tuple[str, str, str, str, str, str]
HEADINGS: Cells = ("", "wall µs", "+ µs (IQR)", "x bare (IQR)", "CPU µs", "x bare (IQR)")


def environment() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def write_json(
    path: Path,
    rows: Sequence[Row],
    figures: Sequence[Figure],
    comparisons: Sequence[Comparison],
    settings: dict[str, Any],
) -> None:
    """Write rows, figures and comparisons with the environment and the settings of the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "environment": environment(),
        "settings": settings,
        "rows": [dataclasses.asdict(row) for row in rows],
        "figures": [dataclasses.asdict(figure) for figure in figures],
        "comparisons": [comparison.content() for comparison in comparisons],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def print_figures(figures: Sequence[Figure]) -> None:
    """Print the figures that are no ratios, one per line, with what was promised for them."""
    if figures:
        print(plain_figures(figures))


def plain_figures(figures: Sequence[Figure]) -> str:
    """Return the figures as text with aligned columns, one block per measurement."""
    width = max(len(figure.name) for figure in figures)
    lines: list[str] = []
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            lines += ["", f"micro {section}"]
        promised = "" if figure.most is None else f"  at most {figure.most:g}"
        promised += "" if figure.least is None else f"  at least {figure.least:g}"
        lines.append(f"  {figure.name:<{width}}  {figure.value:>9.3f} {figure.unit:<2}  of {figure.count}{promised}")
    return "\n".join(lines)


def print_table(rows: Sequence[Row]) -> None:
    """Print one block per section; on a terminal that is wide enough with rich, where it is installed."""
    if rows and not (sys.stdout.isatty() and _printed_by_rich(rows)):
        print(plain_table(rows))


def plain_table(rows: Sequence[Row]) -> str:
    """Return the table as text with aligned columns."""
    lines = [HEADINGS]
    for title, block in _blocks(rows):
        lines += [("",) * 6, (title, "", "", "", "", ""), *map(_cells, block)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: Cells, widths: list[int]) -> str:
    first, *others = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _printed_by_rich(rows: Sequence[Row]) -> bool:
    try:
        from rich.console import Console
    except ImportError:
        return False
    console, table = Console(), _rich_table(rows)
    if console.measure(table).minimum > console.width:
        return False
    console.print(table)
    return True


def _rich_table(rows: Sequence[Row]) -> Table:
    from rich.table import Table

    table = Table(title="Cost per call against bare grpcio, paired per chunk", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for title, block in _blocks(rows):
        table.add_section()
        table.add_row(title, style="bold")
        for row in block:
            table.add_row(*_cells(row))
    return table


def _blocks(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        unit = "per message" if row.kind == "stream" else "per call"
        blocks.setdefault(f"{row.side} {row.stack} {row.kind}, {unit}", []).append(row)
    return list(blocks.items())


def _cells(row: Row) -> Cells:
    return (
        f"  {row.variant}",
        f"{row.wall_us:.1f}",
        f"{row.extra_us.median:+.1f} ({row.extra_us.q1:+.1f}..{row.extra_us.q3:+.1f})",
        _ratio(row.wall_ratio),
        f"{row.cpu_us:.1f}",
        _ratio(row.cpu_ratio),
    )


def _ratio(ratio: Quartiles) -> str:
    return f"{ratio.median:.3f} ({ratio.q1:.3f}-{ratio.q3:.3f})"


class Progress:
    """A line on standard error that says what is measured and how far it is; silent when nobody looks at it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._title = ""
        self._shown = sys.stderr.isatty()

    def section(self, title: str) -> None:
        self._title = title

    def step(self) -> None:
        self._done += 1
        if self._shown:
            text = f"{100 * self._done // self._total:3d} %  {self._title}"
            print(f"\r{text:<40}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
