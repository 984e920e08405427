"""Write the table of every public channel option into ``docs/options.md``, between its two marks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from grpc_heartbeat.options.catalogue import PUBLIC, options  # noqa: E402 - the path must be set before

PAGE = ROOT / "docs" / "options.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| option | side | kind | default | what it does | source |"
    yield "|---|---|---|---|---|---|"
    for option in options().values():
        if option.public or (option.meaning and "internal_channel" in option.source):
            source = "1" if option.source == PUBLIC[0] else "2" if option.source == PUBLIC[1] else "3"
            side = "none" if option.side == "nobody" else option.side
            yield f"| `{option.name}` | {side} | {option.kind} | {option.default} | {option.meaning} | {source} |"


def page(text: str) -> str:
    """Return the page with a fresh table."""
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return "\n".join([head + BEGIN, *table(), END + tail])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
