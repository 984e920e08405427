"""``grpc-heartbeat options``: check files of channel options, and show what a profile sets.

Exit status of ``check``: 0 when nothing is wrong, 1 when something is, 2 for a wrong command line or an unreadable file.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from grpc_heartbeat.cli.extras import require
from grpc_heartbeat.cli.options.files import Source, WrongFile, read
from grpc_heartbeat.cli.options.lines import plain_lines
from grpc_heartbeat.cli.options.show import rows
from grpc_heartbeat.config import check_seconds
from grpc_heartbeat.options import PROFILES, Report, check_options
from grpc_heartbeat.options.findings import finding_as_dict

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers

_DESCRIPTION = """\
Check the options of gRPC channels and servers before they bite, or show what a profile sets."""

_CHECK = """\
Check channel arguments: unknown and misspelt names, wrong side, unit or type, pairs that end in GOAWAY
too_many_pings, settings that notice nothing in time. Then say how long four faults stay unnoticed.

A file is YAML (needs the extra `policy`) or JSON: a mapping of names to values, or a list of [name, value].
One file may hold both ends, under `client:` and `server:`. A server that is not Python's is described by
`enforcement: {min_interval: 5, permit_without_calls: false, max_strikes: 2}` in seconds."""

_EPILOG = "Exit status: 0 if nothing is wrong, 1 if something is, 2 if a file or the command line cannot be understood."


def add_parser(subparsers: SubParsers) -> None:
    """Add the parser of ``options``."""
    parser = subparsers.add_parser("options", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    check = actions.add_parser(
        "check",
        help="check files of options",
        description=_CHECK,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("client", metavar="CLIENT", help="options of the channel, or of both ends; - for none")
    check.add_argument("server", metavar="SERVER", nargs="?", default="-", help="options of the server; - for none")
    check.add_argument(
        "--detect-within", type=_seconds, metavar="S", help="slower detection of a lost peer is an error"
    )
    check.add_argument("--strict", action="store_true", help="warnings count as wrong too")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    show = actions.add_parser("show", help="show what a profile sets, or every option there is")
    show.add_argument("--profile", choices=sorted(PROFILES), help="what it sets on both ends")
    show.add_argument("--all", action="store_true", help="every option that gRPC knows, internal ones included")
    show.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says and return the exit status."""
    return _check(arguments) if arguments.action == "check" else _show(arguments)


def _check(arguments: argparse.Namespace) -> int:
    try:
        source = read(arguments.client, arguments.server)
    except WrongFile as error:
        print(f"grpc-heartbeat: {error}", file=sys.stderr)
        return 2
    report = check_options(client=source.client, server=source.server, detect_within=arguments.detect_within)
    print(_as_json(report, source) if arguments.json else "\n".join(plain_lines(report, source)))
    return 1 if report.errors or (arguments.strict and report.warnings) else 0


def _as_json(report: Report, source: Source) -> str:
    data = report.as_dict()
    data["findings"] = [finding_as_dict(finding) | source.place_of(finding) for finding in report.findings]
    return json.dumps(data)


def _show(arguments: argparse.Namespace) -> int:
    shown = rows(arguments.profile, everything=arguments.all)
    if arguments.json:
        for row in shown:
            print(json.dumps(row))
        return 0
    table_module, console_module = require("rich.table", extra="cli"), require("rich.console", extra="cli")
    if arguments.profile:
        print(f"{arguments.profile}: {PROFILES[arguments.profile].summary}\n")
    columns = [name for name in shown[0] if name != "source" or sys.stdout.isatty()]
    table = table_module.Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in shown:
        table.add_row(*(str(row[name]) for name in columns))
    width = None if sys.stdout.isatty() else 200
    console = console_module.Console(width=width, markup=False, highlight=False)
    with console.capture() as captured:  # by itself it ends the process where nobody reads, with a status of its own
        console.print(table)
    print(captured.get(), end="")
    return 0


def _seconds(text: str) -> float:
    try:
        return check_seconds("the time", float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
