"""``grpc-heartbeat policy``: what a time-out policy should say otherwise, from what its limits did.

Exit status of ``propose``: 0, or 2 for a wrong command line or an unreadable file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from grpc_heartbeat.cli.contract.files import WrongFile, measurements
from grpc_heartbeat.cli.options.lines import one_line
from grpc_heartbeat.cli.policy.diff import policy_diff
from grpc_heartbeat.cli.policy.records import evidence
from grpc_heartbeat.core.proposals import Evidence, Proposal, propose
from grpc_heartbeat.policy import TimeoutPolicy

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers

_DESCRIPTION = """\
Propose changes of a time-out policy."""

_PROPOSE = """\
Read the records of calls that ended early, as JsonLinesSink writes them, and say which limits should be changed, as a
diff of the policy. With measurements, totals are made from how long calls take, and needlessly long ones are shortened.

Measurements are a JSON object of methods, in seconds, such as AdaptiveTimeouts.observed() gives:
{"shop.Orders/Place": {"p50": 0.1, "p95": 0.4, "p99": 0.9, "count": 12000}}; all but p99 may be left out."""

_EPILOG = "Exit status: 0, or 2 if a file or the command line cannot be understood."


def add_parser(subparsers: SubParsers) -> None:
    """Add the parser of ``policy``."""
    parser = subparsers.add_parser("policy", description=_DESCRIPTION)
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    action = actions.add_parser(
        "propose",
        help="propose changes, from records and measurements",
        description=_PROPOSE,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action.add_argument("records", metavar="FILE", nargs="+", help="records of calls that ended early, JSON lines")
    action.add_argument("--policy", metavar="FILE", help="the policy that clients use, YAML or JSON")
    action.add_argument("--observed", metavar="FILE", help="how long calls take, JSON")
    action.add_argument("--least", metavar="N", type=_count, default=10, help="calls that a limit must have ended (10)")
    action.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says and return the exit status."""
    try:
        return _propose(arguments)
    except (WrongFile, ImportError) as error:
        print(f"grpc-heartbeat: {one_line(str(error))}", file=sys.stderr)
        return 2


def _propose(arguments: argparse.Namespace) -> int:
    policy = TimeoutPolicy() if arguments.policy is None else _policy(arguments.policy)
    observed = {} if arguments.observed is None else measurements(arguments.observed)
    found = evidence(arguments.records)
    limits = {method: policy.limits(f"/{method}", streams=False) for method in observed}
    proposals = propose(found, observed, limits, least=arguments.least)
    diff = policy_diff(policy, proposals, arguments.policy or "policy.yaml")
    if arguments.json:
        print(json.dumps({"proposals": [asdict(one) for one in proposals], "diff": diff, **_counts(found)}))
    else:
        print("\n".join([*map(one_line, _lines(proposals, found)), *diff]))
    return 0


def _policy(file: str) -> TimeoutPolicy:
    try:
        return TimeoutPolicy.load(file)
    except OSError as error:
        raise WrongFile(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise WrongFile(str(error)) from error


def _lines(proposals: list[Proposal], found: Evidence) -> list[str]:
    lines = [
        f"{one.method} {one.part}: {one.limit:g} s ended {one.calls:,} calls; "
        f"{'keep it' if one.proposed is None else f'make it {one.proposed:g} s'}: {one.why}"
        for one in proposals
    ]
    counts = _counts(found)
    lines.append(
        f"{counts['records']:,} records; {counts['foreign']:,} of limits that no policy had set, "
        f"{counts['unreadable']:,} unreadable lines"
    )
    return lines if proposals else [*lines, "nothing to change"]


def _counts(found: Evidence) -> dict[str, int]:
    ended = sum(one.calls for one in found.ended.values())
    return {"records": ended + found.foreign, "foreign": found.foreign, "unreadable": found.unreadable}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of at least 1; got {text!r}")
    return int(text)
