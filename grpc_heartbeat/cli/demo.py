"""``grpc-heartbeat demo``: three services and a client as real processes, shown while they work and while one is frozen.

Exit status: 0 when everything that the demo expects came true, 1 when not, 2 when it cannot run here.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import TYPE_CHECKING

from grpc_heartbeat._extras import require
from grpc_heartbeat.config import check_seconds

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers
    from grpc_heartbeat.demo.facts import Facts

SHORTEST_FREEZE = 2.0
"""Seconds: the request that meets the frozen service must reach its deadline, and the heartbeat notice."""

MORE_PORTS = 3
"""Processes beside the first one."""

_DESCRIPTION = """\
Start a client and three services as processes that talk over real sockets, and show: how a request's time shrinks
from hop to hop, how a cancel travels, what happens while a service is frozen, and the traces of it all.
With OTEL_EXPORTER_OTLP_ENDPOINT set, the spans go to that collector or Jaeger."""

_EPILOG = "Exit status: 0 if everything happened as it should, 1 if not, 2 if the demo cannot run here."


def add_parser(subparsers: SubParsers) -> None:
    """Add the parser of ``demo``."""
    parser = subparsers.add_parser("demo", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--json", action="store_true", help="print the facts as one JSON object and nothing else")
    parser.add_argument(
        "--freeze",
        type=_freeze_seconds,
        default=3.0,
        metavar="SECONDS",
        help=f"how long a service stays frozen, at least {SHORTEST_FREEZE:g}; default: %(default)g",
    )
    parser.add_argument(
        "--metrics-port",
        type=_first_port,
        default=0,
        metavar="PORT",
        help=f"serve metrics to Prometheus on this loopback port and the {MORE_PORTS} after it, one for each process",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo and return the exit status."""
    if not hasattr(signal, "SIGSTOP"):
        print(
            "grpc-heartbeat demo: it freezes a process with SIGSTOP, which needs Linux, macOS or another POSIX system",
            file=sys.stderr,
        )
        return 2
    require("opentelemetry.exporter.otlp.proto.grpc", extra="otlp")
    if args.metrics_port:
        require("opentelemetry.exporter.prometheus", extra="prometheus")
    from grpc_heartbeat.demo.children import ChildError

    try:
        facts = _perform(args)
    except ChildError as error:
        print(f"grpc-heartbeat demo: {error}", file=sys.stderr)
        return 1
    return 0 if facts.ok else 1


def _perform(args: argparse.Namespace) -> Facts:
    from grpc_heartbeat.demo import director, show
    from grpc_heartbeat.demo.as_json import as_json
    from grpc_heartbeat.demo.screen import NoScreen, screen

    if args.json:
        facts = director.perform(NoScreen(), args.freeze, metrics_port=args.metrics_port)
        print(json.dumps(as_json(facts), indent=2))
        return facts
    with screen(director.ACTS) as shown:
        facts = director.perform(shown, args.freeze, metrics_port=args.metrics_port)
        show.verdict(shown, facts)
    return facts


def _freeze_seconds(text: str) -> float:
    try:
        return check_seconds("--freeze", float(text), minimum=SHORTEST_FREEZE, inclusive=True)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _first_port(text: str) -> int:
    highest = 65_535 - MORE_PORTS
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= highest):
        raise argparse.ArgumentTypeError(f"--metrics-port must be a number from 1 to {highest}, got {text!r}")
    return int(text)
