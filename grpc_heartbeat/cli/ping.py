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
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from grpc_heartbeat.cli.probe import Answered, Asked, Lost, Probe
from grpc_heartbeat.cli.quiet import native_log_silenced
from grpc_heartbeat.cli.report import JsonReporter, Reporter, TextReporter
from grpc_heartbeat.cli.schedule import Schedule
from grpc_heartbeat.cli.summary import Summary, summarise
from grpc_heartbeat.cli.target import Target, check_address, check_text, read_certificates
from grpc_heartbeat.config import check_seconds

if TYPE_CHECKING:
    from grpc_heartbeat.cli.app import SubParsers
    from grpc_heartbeat.cli.strategy_probe import StrategyProbe

T = TypeVar("T")

MIN_INTERVAL = 0.01
CONNECT_SHARE = 0.9
"""Share of a beat's time after which an attempt to connect is given up, so that the beat can still say why."""

_DESCRIPTION = """\
Send beats to a gRPC server and print the round-trip time of each, then the loss and the spread.
The server is asked by grpc_heartbeat.v1.Heartbeat/Ping; one that does not have it is asked by
grpc.health.v1.Health/Check; one that has neither still answers UNIMPLEMENTED, which is counted.
p95 is by nearest rank: a time that was measured, not interpolated.
With --strategy peers of other kinds are asked, each in its own protocol: host:port, https://… or wss://… as fits."""

_EPILOG = "Exit status: 0 if any beat was answered, 1 if none was, 2 for a wrong command line."


@dataclass(frozen=True, slots=True)
class Plan:
    """How many beats, how often, and for how long. Seconds; ``None`` means no limit."""

    interval: float
    timeout: float
    count: int | None
    deadline: float | None


class Beater(Protocol):
    """What sends the beats of a series."""

    @property
    def level(self) -> Asked:
        """How the peer is asked now."""
        ...

    async def beat(self, sequence: int, timeout: float) -> Answered | Lost:
        """Send a beat; wait at most ``timeout`` seconds for its answer."""
        ...


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
    parser.add_argument("target", metavar="HOST:PORT", help="the server; [IPv6]:PORT; what a strategy understands")
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
    peer.add_argument("--strategy", metavar="NAME", help="ask in another way, such as http2-ping or websocket-ping")
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
    plan = Plan(arguments.interval, arguments.timeout, arguments.count, arguments.deadline)
    reporter: Reporter = (JsonReporter if arguments.json else TextReporter)(quiet=arguments.quiet)
    if arguments.strategy is not None:
        work = ping_by(_strategy_of(arguments), arguments.target, plan, reporter)
    else:
        work = ping(_target_of(arguments), plan, reporter, service=arguments.service)
    with native_log_silenced():
        summary = asyncio.run(work)
    return 0 if summary.received else 1


def _target_of(arguments: argparse.Namespace) -> Target:
    if arguments.cacert is not None and not arguments.tls:
        arguments.usage_error("--cacert needs --tls")
    return Target(_checked(arguments, check_address), arguments.tls, arguments.cacert, arguments.authority)


def _strategy_of(arguments: argparse.Namespace) -> StrategyProbe:
    from grpc_heartbeat.cli.strategy_probe import choose

    if arguments.tls or arguments.service is not None:
        arguments.usage_error("--strategy takes no --tls and no --service; TLS is asked for by https:// or wss://")
    given = {"roots": arguments.cacert, "server_name": arguments.authority}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        return _checked(arguments, partial(choose, arguments.strategy, options))
    except LookupError as error:
        arguments.usage_error(f"argument --strategy: {error}")
        raise


def _checked(arguments: argparse.Namespace, parse: Callable[[str], T]) -> T:
    """Return what ``parse`` makes of the target; ends the process with what it says if that is an error."""
    try:
        return parse(arguments.target)
    except ValueError as error:
        arguments.usage_error(f"argument HOST:PORT: {error}")
        raise


async def ping(target: Target, plan: Plan, reporter: Reporter, *, service: str | None = None) -> Summary:
    """Send beats until the plan is fulfilled or SIGINT comes, then report and return the statistics.

    Must run in the main thread, because it handles SIGINT.
    """
    async with target.open(plan.timeout * CONNECT_SHARE) as channel:
        probe = Probe(channel, service=service, tls=target.tls, on_step_down=reporter.stepped_down)
        return await _series(target.address, probe, plan, reporter)


async def ping_by(probe: StrategyProbe, target: str, plan: Plan, reporter: Reporter) -> Summary:
    """As :func:`ping`, by a strategy."""
    async with probe:
        return await _series(target, probe, plan, reporter)


async def _series(target: str, probe: Beater, plan: Plan, reporter: Reporter) -> Summary:
    tally = Tally()
    await _until_interrupted(_beats(target, probe, plan, tally, reporter))
    summary = tally.summary()
    reporter.finished(target, probe.level, summary)
    return summary


async def _beats(target: str, probe: Beater, plan: Plan, tally: Tally, reporter: Reporter) -> None:
    """Send beats as planned. The first output comes from here, when an interrupt is already handled."""
    reporter.started(target, probe.level)
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
