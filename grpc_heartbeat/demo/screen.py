"""What people see: lines that stay, and one line about what is going on now.

``RichScreen`` is for terminals where rich is installed; ``PlainScreen`` for all else; ``NoScreen`` for programs.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

Part: TypeAlias = "str | tuple[str, str]"
"""A piece of a line: text, or text and a style (``good``, ``bad``, ``dim``, ``head``, ``name``)."""


_STYLES = {"good": "green", "bad": "bold red", "dim": "dim", "head": "bold", "name": "cyan"}


class Screen(Protocol):
    """Where the demo shows itself."""

    def line(self, *parts: Part) -> None:
        """Show a line that stays."""

    def act(self, title: str) -> None:
        """Begin an act."""

    def now(self, text: str) -> None:
        """Say what is going on; the next call replaces it."""


class NoScreen:
    """Shows nothing."""

    def line(self, *parts: Part) -> None:
        pass

    def act(self, title: str) -> None:
        pass

    def now(self, text: str) -> None:
        pass


class PlainScreen:
    """Prints plain lines; what is going on is left out, except the beginning of each act."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal or file that knows no arrows gets question marks

    def line(self, *parts: Part) -> None:
        print("".join(part if isinstance(part, str) else part[0] for part in parts).rstrip(), flush=True)

    def act(self, title: str) -> None:
        print(f"\n== {title}", flush=True)

    def now(self, text: str) -> None:
        pass


class RichScreen:
    """Colours, and a progress bar over the acts with what is going on beside it."""

    def __init__(self, progress: Any, text: Any, acts: int) -> None:
        self._progress = progress
        self._text = text
        self._task = progress.add_task("starting four processes", total=acts)
        self._begun = False

    def line(self, *parts: Part) -> None:
        pieces = [part if isinstance(part, str) else (part[0], _STYLES[part[1]]) for part in parts]
        self._progress.console.print(self._text.assemble(*pieces), soft_wrap=True)

    def act(self, title: str) -> None:
        self._progress.update(self._task, advance=1 if self._begun else 0, description=title)
        self._begun = True
        self.line()
        self.line((title, "head"))

    def now(self, text: str) -> None:
        self._progress.update(self._task, description=text)


@contextmanager
def screen(acts: int) -> Iterator[Screen]:
    """Yield the best screen for this standard output; ``acts`` is how many there will be."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.text import Text
    except ImportError:
        yield PlainScreen()
        return
    if not sys.stdout.isatty():
        yield PlainScreen()
        return
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(highlight=False), transient=True) as progress:
        yield RichScreen(progress, Text, acts)
