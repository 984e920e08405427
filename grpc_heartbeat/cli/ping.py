"""``grpc-heartbeat ping``: like ping(8), but asks the application instead of the host.

Exit status: 0 when at least one beat was answered, 1 when none was, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import time
from array import array
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from grpc_heartbeat.cli.probe import Answered, Lost, Probe
from grpc_heartbeat.cli.quiet import native_log_silenced
from grpc_heartbeat.cli.report import JsonReporter, Reporter, TextReporter
from grpc_heartbeat.cli.schedule import Schedule
from grpc_heartbeat.cli.summary import Summary, summarise
from grpc_heartbeat.cli.target import Target, check_address, check_text, read_certificates
from grpc_heartbeat.config import check_seconds

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers

T = TypeVar("T")

MIN_INTERVAL = 0.01
CONNECT_SHARE = 0.9
"""Share of a beat's time after which an attempt to connect is given up, so that the beat can still say why."""

_DESCRIPTION = """\
Send beats to a gRPC server and print the round-trip time of each, then the loss and the spread.
The server is asked by grpc_heartbeat.v1.Heartbeat/Ping; one that does not have it is asked by
grpc.health.v1.Health/Check; one that has neither still answers UNIMPLEMENTED, which is counted.
p95 is by nearest rank: a time that was measured, not interpolated."""

_EPILOG = "Exit status: 0 if any beat was answered, 1 if none was, 2 for a wrong command line."


@dataclass(frozen=True, slots=True)
class Plan:
    """How many beats, how often, and for how long. Seconds; ``None`` means no limit."""

    interval: float
    timeout: float
    count: int | None
    deadline: float | None


@dataclass(slots=True)
class Tally:
    """The beats that have an outcome; one that an interrupt cut short has none."""

    sent: int = 0
    round_trips: array[float] = field(default_factory=lambda: array("d"))

    def add(self, result: Answered | Lost) -> None:
        """Count one beat."""
        self.sent += 1
        if isinstance(result, Answered):
            self.round_trips.append(result.round_trip)

    def summary(self) -> Summary:
        """Return the statistics so far."""
        return summarise(self.round_trips, self.sent)


def add_parser(subparsers: SubParsers) -> None:
    """Add the parser of ``ping``."""
    parser = subparsers.add_parser(
        "ping", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument("target", metavar="HOST:PORT", type=_argument(check_address), help="the server; [IPv6]:PORT")
    pace = parser.add_argument_group("pace")
    pace.add_argument("-c", "--count", type=_argument(_count), help="stop after this many beats")
    pace.add_argument(
        "-i", "--interval", type=_argument(_interval), default=1.0, metavar="S", help="seconds between beats (1)"
    )
    pace.add_argument(
        "-W",
        "--timeout",
        type=_argument(_duration),
        default=3.0,
        metavar="S",
        help="seconds to wait for one answer (3)",
    )
    pace.add_argument(
        "-w", "--deadline", type=_argument(_duration), metavar="S", help="seconds after which to stop in any case"
    )
    peer = parser.add_argument_group("what to ask")
    peer.add_argument(
        "--service", type=_argument(check_text), metavar="NAME", help="ask grpc.health.v1 about this service"
    )
    peer.add_argument("--tls", action="store_true", help="use TLS")
    peer.add_argument(
        "--cacert", type=_argument(read_certificates), metavar="FILE", help="PEM certificates to trust (those of gRPC)"
    )
    peer.add_argument(
        "--authority",
        type=_argument(check_text),
        metavar="NAME",
        help="name that the server is asked for, and must prove with --tls",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object per line")
    output.add_argument("-q", "--quiet", action="store_true", help="print only the start and the statistics")


def run(arguments: argparse.Namespace) -> int:
    """Ping as the command line says and return the exit status."""
    if arguments.cacert is not None and not arguments.tls:
        arguments.usage_error("--cacert needs --tls")
    target = Target(arguments.target, arguments.tls, arguments.cacert, arguments.authority)
    plan = Plan(arguments.interval, arguments.timeout, arguments.count, arguments.deadline)
    reporter: Reporter = (JsonReporter if arguments.json else TextReporter)(quiet=arguments.quiet)
    with native_log_silenced():
        summary = asyncio.run(ping(target, plan, reporter, service=arguments.service))
    return 0 if summary.received else 1


async def ping(target: Target, plan: Plan, reporter: Reporter, *, service: str | None = None) -> Summary:
    """Send beats until the plan is fulfilled or SIGINT comes, then report and return the statistics.

    Must run in the main thread, because it handles SIGINT.
    """
    tally = Tally()
    async with target.open(plan.timeout * CONNECT_SHARE) as channel:
        probe = Probe(channel, service=service, tls=target.tls, on_step_down=reporter.stepped_down)
        await _until_interrupted(_beats(target, probe, plan, tally, reporter))
        summary = tally.summary()
        reporter.finished(target.address, probe.level, summary)
    return summary


async def _beats(target: Target, probe: Probe, plan: Plan, tally: Tally, reporter: Reporter) -> None:
    """Send beats as planned. The first output comes from here, when an interrupt is already handled."""
    reporter.started(target.address, probe.level)
    origin = due = time.monotonic()
    schedule = Schedule(origin, plan.interval)
    end = math.inf if plan.deadline is None else origin + plan.deadline
    sequence = 0
    while due < end and (plan.count is None or sequence < plan.count):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sequence += 1
        result = await probe.beat(sequence, min(plan.timeout, end - due))
        tally.add(result)
        reporter.beat(result)
        due = schedule.next_due(max(time.monotonic(), due))


async def _until_interrupted(work: Coroutine[None, None, None]) -> None:
    """Await ``work``; SIGINT ends it early and quietly."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make argparse show the message of a ``ValueError`` instead of only its own."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(f"must be at least 1; got {count}")
    return count


def _interval(text: str) -> float:
    return check_seconds("the interval", float(text), minimum=MIN_INTERVAL, inclusive=True)


def _duration(text: str) -> float:
    return check_seconds("the time", float(text), minimum=MIN_INTERVAL, inclusive=True)
