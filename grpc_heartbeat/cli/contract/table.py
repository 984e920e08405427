"""The table of ``contract show``, by rich where that is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from grpc_heartbeat._extras import MissingExtraError, require
from grpc_heartbeat.cli.options.lines import one_line
from grpc_heartbeat.contract import Contracts, MethodContract
from grpc_heartbeat.core.contract import SAID, say

_KINDS = {
    (False, False): "one to one",
    (False, True): "one to many",
    (True, False): "many to one",
    (True, True): "many to many",
}


def rows(contracts: Contracts) -> list[dict[str, Any]]:
    """Return a row for each method, in types that JSON has; times are seconds, ``None`` where nothing is said."""
    return [_row(contract) for _, contract in sorted(contracts.items())]


def _row(contract: MethodContract) -> dict[str, Any]:
    said: dict[str, Any] = {name: getattr(contract, name) for name in SAID}
    kind = _KINDS[contract.streams_requests, contract.streams_responses]
    place = None if contract.place is None else str(contract.place)
    return {"method": contract.method, "kind": kind, "declared": contract.declared, **said, "place": place}


def show(shown: Sequence[dict[str, Any]]) -> None:
    """Print the rows for people."""
    columns = ("method", "kind", *SAID, "declared at")
    cells = [
        [
            row["method"],
            row["kind"],
            *(_time(row[name]) for name in SAID),
            row["place"] if row["declared"] else "nowhere",
        ]
        for row in shown
    ]
    lines = [[one_line(str(cell)) for cell in line] for line in cells]
    try:
        _rich(columns, lines)
    except MissingExtraError:
        widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
        for line in (columns, *lines):
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table_module, console_module = require("rich.table", extra="cli"), require("rich.console", extra="cli")
    table = table_module.Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in lines:
        table.add_row(*line)
    width = None if sys.stdout.isatty() else 200
    console_module.Console(width=width, markup=False, highlight=False).print(table)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else say(seconds)
