"""``grpc-heartbeat contract``: check the time-outs that services declare in their ``.proto`` files, and show them.

Exit status of ``check``: 0 when nothing is wrong, 1 when something is, 2 for a wrong command line or an unreadable file.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from grpc_heartbeat import contract
from grpc_heartbeat.cli.contract.files import WrongFile, descriptors, measurements
from grpc_heartbeat.cli.contract.table import rows, show
from grpc_heartbeat.cli.options.lines import one_line

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers

_DESCRIPTION = """\
Check the time-outs that services declare in their .proto files (option grpc_heartbeat.v1.timeout), or show them."""

_CHECK = """\
Check the declared time-outs by themselves, and against the policy that clients use, what was measured, and the
descriptors of the last release.

Descriptors come from `protoc --include_source_info --include_imports --descriptor_set_out=FILE` or `buf build -o FILE`;
without source info findings have no lines. Measurements are a JSON object of methods, in seconds:
{"shop.Orders/Place": {"p50": 0.1, "p95": 0.4, "p99": 0.9, "count": 12000}}; all but p99 may be left out."""

_EPILOG = "Exit status: 0 if nothing is wrong, 1 if something is, 2 if a file or the command line cannot be understood."


def add_parser(subparsers: SubParsers) -> None:
    """Add the parser of ``contract``."""
    parser = subparsers.add_parser("contract", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    check = actions.add_parser(
        "check",
        help="check declared time-outs",
        description=_CHECK,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show = actions.add_parser("show", help="show methods and what they declare")
    for action in (check, show):
        action.add_argument(
            "--descriptors",
            metavar="FILE",
            action="append",
            required=True,
            help="a FileDescriptorSet; may be given several times",
        )
    check.add_argument("--policy", metavar="FILE", help="the policy that clients use, YAML or JSON")
    check.add_argument("--observed", metavar="FILE", help="what was measured, JSON")
    check.add_argument("--baseline", metavar="FILE", help="the FileDescriptorSet of the last release")
    check.add_argument("--strict", action="store_true", help="warnings count as wrong too")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    show.add_argument("--json", action="store_true", help="print one JSON object per line")
    actions.add_parser("include", help="print the folder that protoc needs as -I for grpc_heartbeat/v1/timeouts.proto")


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says and return the exit status."""
    if arguments.action == "include":
        print(contract.include())
        return 0
    try:
        return _check(arguments) if arguments.action == "check" else _show(arguments)
    except (WrongFile, ImportError) as error:
        print(f"grpc-heartbeat: {one_line(str(error))}", file=sys.stderr)
        return 2


def _check(arguments: argparse.Namespace) -> int:
    contracts = descriptors(*arguments.descriptors)
    observed = None if arguments.observed is None else measurements(arguments.observed)
    baseline = None if arguments.baseline is None else descriptors(arguments.baseline)
    try:
        report = contract.check(contracts, policy=arguments.policy, observed=observed, baseline=baseline)
    except OSError as error:
        raise WrongFile(f"{arguments.policy}: {error.strerror or error}") from error
    except ValueError as error:
        raise WrongFile(str(error)) from error
    print(json.dumps(report.as_dict()) if arguments.json else "\n".join(map(one_line, str(report).split("\n"))))
    return 1 if report.errors or (arguments.strict and report.warnings) else 0


def _show(arguments: argparse.Namespace) -> int:
    shown = rows(descriptors(*arguments.descriptors))
    if arguments.json:
        for row in shown:
            print(json.dumps(row))
    else:
        show(shown)
    return 0
