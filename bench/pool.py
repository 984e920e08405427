"""Measures what a pool with probes saves on connections that idle for long and sometimes die without a word.

``python -m bench.pool`` has four ways to make the same calls, side by side: bursts of calls, and gaps between them, short and
long in turn. The network forgets connections on which nothing passes for a while, as a NAT or a firewall does: they stay open
and carry nothing any more. Now and then it forgets all of them.

- *channel per call*: made for one call and closed after it.
- *pool, no probes*: channels that are kept; one whose call is not answered in time is replaced, and the call is tried again.
- *ours*, *ours, asyncio*: ``pooled_channel``, whose connections are probed before they have been idle for too long.

Each goes through a relay of its own, on whose port the sockets are counted. Seconds stand for minutes: the pools probe what has
been idle for half a second, where they would take 60.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

import grpc_heartbeat
from bench.report import environment
from bench.servers import NO_PORT_SHARING, UNARY, SyncHandlers
from tests.heartbeat.relay import Relay

SIZE = 4
IDLE = 0.5
POLICY = grpc_heartbeat.PoolPolicy(SIZE, idle=IDLE, timeout=0.15)
LIMIT = 0.3
"""Seconds that a call may take."""

FORGETTING = 1.6 * IDLE
"""Seconds without traffic after which the network forgets a connection."""

_OWN = [("grpc.use_local_subchannel_pool", 1)]
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_STATES = {"01": "established", "04": "fin_wait", "05": "fin_wait", "06": "time_wait"}


@dataclass(frozen=True)
class Effort:
    """How much is measured, the gaps in seconds. With every ``dead_every``-th gap all connections die."""

    bursts: int = 40
    gaps: tuple[float, float] = (0.2 * IDLE, 2.4 * IDLE)
    dead_every: int = 12


@dataclass(frozen=True)
class Row:
    """One way of making the calls.

    ``answered``: of ``calls``. ``reused``: share of them that were answered on a connection that was there. ``connections``:
    made in all. ``probes``: sent in the gaps. ``established``: sockets after a burst, the mean. ``time_wait``, ``fin_wait``:
    those that were closed on this side and live on in the kernel, the most; the latter as their peer does not close them, too.
    """

    way: str
    calls: int
    answered: int
    reused: float
    connections: int
    probes: int
    p50_ms: float
    p99_ms: float
    established: float
    time_wait: int
    fin_wait: int


def sockets(port: int) -> Counter[str]:
    """Return how many sockets of this machine go to ``port`` of loopback, by state."""
    remote = f"0100007F:{port:04X}"
    lines = [line.split() for table in _TABLES for line in Path(table).read_text().splitlines()[1:]]
    return Counter(_STATES.get(state, "other") for _, _, to, state, *_ in lines if to.endswith(remote))


class Way:
    """A way of making calls to ``target``; counts those that found a connection and the connections that it made."""

    name = ""

    def __init__(self, target: str) -> None:
        self.target = target
        self.reused = self.connections = self.probes = 0
        self.seconds: list[float] = []
        self._lock = threading.Lock()

    def burst(self, workers: ThreadPoolExecutor) -> int:
        """Make as many calls at a time as there are seats; return how many were answered."""
        return sum(workers.map(lambda _: self._timed(), range(SIZE)))

    def _timed(self) -> bool:
        started = time.monotonic()
        answered = self.call()
        self.seconds.append(time.monotonic() - started)
        return answered

    def call(self) -> bool:
        """Make a call; return whether it was answered."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is kept."""

    def _answers(self, method: Callable[..., bytes]) -> bool:
        try:
            return method(b"x", timeout=LIMIT) == b"x"
        except grpc.RpcError:
            return False

    def _count(self, reused: int, connections: int) -> None:
        with self._lock:
            self.reused += reused
            self.connections += connections


class ChannelPerCall(Way):
    name = "channel per call"

    def call(self) -> bool:
        self._count(0, 1)
        with grpc.insecure_channel(self.target, _OWN) as channel:
            return self._answers(channel.unary_unary(UNARY))


class PoolWithoutProbes(Way):
    name = "pool, no probes"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._free: list[grpc.Channel] = []

    def call(self) -> bool:
        with self._lock:
            channel = self._free.pop() if self._free else None
        if channel is not None:
            if self._answers(channel.unary_unary(UNARY)):
                self._keep(channel, reused=1)
                return True
            channel.close()
        channel = grpc.insecure_channel(self.target, _OWN)
        self._count(0, 1)
        answered = self._answers(channel.unary_unary(UNARY))
        self._keep(channel, reused=0)
        return answered

    def _keep(self, channel: grpc.Channel, reused: int) -> None:
        self._count(reused, 0)
        with self._lock:
            self._free.append(channel)

    def close(self) -> None:
        for channel in self._free:
            channel.close()


class Ours(Way):
    name = "ours"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._channel = grpc_heartbeat.pooled_channel(target, pool=POLICY)
        self._method = self._channel.unary_unary(UNARY)

    def call(self) -> bool:
        return self._answers(self._method)

    def close(self) -> None:
        _take_counts(self, self._channel.pool.snapshot())
        self._channel.close()


class OursAio(Way):
    name = "ours, asyncio"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._channel = grpc_heartbeat.aio.pooled_channel(target, pool=POLICY)
        self._method: Any = self._channel.unary_unary(UNARY)

    def burst(self, workers: ThreadPoolExecutor) -> int:
        return sum(self._run(self._burst()))

    async def _burst(self) -> list[bool]:
        return await asyncio.gather(*(self._ask() for _ in range(SIZE)))

    async def _ask(self) -> bool:
        started = time.monotonic()
        try:
            return bool(await self._method(b"x", timeout=LIMIT) == b"x")
        except grpc.RpcError:
            return False
        finally:
            self.seconds.append(time.monotonic() - started)

    def close(self) -> None:
        _take_counts(self, self._channel.pool.snapshot())
        self._run(self._channel.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _take_counts(way: Way, snapshot: Any) -> None:
    way.reused, way.connections, way.probes = snapshot.reused, snapshot.connections, snapshot.probes


WAYS: tuple[type[Way], ...] = (ChannelPerCall, PoolWithoutProbes, Ours, OursAio)


def measure(effort: Effort, progress: Callable[[], None] = lambda: None) -> list[Row]:
    """Run all ways side by side, and return what each of them took."""
    with ExitStack() as stack:
        workers = stack.enter_context(ThreadPoolExecutor(SIZE))
        serving = stack.enter_context(ThreadPoolExecutor(4 * SIZE))
        server = grpc.server(serving, [SyncHandlers()], options=NO_PORT_SHARING)
        board = grpc_heartbeat.add_to_server(server)
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        stack.callback(board.close)
        stack.callback(lambda: server.stop(0).wait())
        relays = [stack.enter_context(Relay(target)) for _ in WAYS]
        ways = [kind(relay.target) for kind, relay in zip(WAYS, relays, strict=True)]
        try:
            answered, seen = _run(effort, ways, relays, workers, progress)
        finally:
            for way in ways:
                way.close()
    return [_row(way, answered[way.name], seen[way.name]) for way in ways]


def _run(
    effort: Effort,
    ways: Sequence[Way],
    relays: Sequence[Relay],
    workers: ThreadPoolExecutor,
    progress: Callable[[], None],
) -> tuple[Counter[str], dict[str, list[Counter[str]]]]:
    answered: Counter[str] = Counter()
    seen: dict[str, list[Counter[str]]] = {way.name: [] for way in ways}
    for number in range(effort.bursts):
        for way in ways:
            answered[way.name] += way.burst(workers)
            seen[way.name].append(sockets(int(way.target.rpartition(":")[2])))
        progress()
        time.sleep(effort.gaps[number % 2])
        dies = number % effort.dead_every == effort.dead_every - 1
        for relay in relays:
            relay.forget(0.0 if dies else FORGETTING)
    return answered, seen


def _row(way: Way, answered: int, seen: Sequence[Counter[str]]) -> Row:
    times = sorted(way.seconds)
    return Row(
        way.name,
        len(times),
        answered,
        way.reused / len(times),
        way.connections,
        way.probes,
        statistics.median(times) * 1e3,
        times[len(times) * 99 // 100] * 1e3,
        statistics.fmean(sight["established"] for sight in seen),
        max(sight["time_wait"] for sight in seen),
        max(sight["fin_wait"] for sight in seen),
    )


_HEAD = (
    *("", "calls", "answered", "reused", "connections", "probes", "p50 ms", "p99 ms"),
    *("established", "TIME_WAIT", "FIN_WAIT"),
)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text with aligned columns."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]) for name, *cells in lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.way,
        str(row.calls),
        str(row.answered),
        f"{row.reused:.0%}",
        str(row.connections),
        str(row.probes),
        f"{row.p50_ms:.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.established:.1f}",
        str(row.time_wait),
        str(row.fin_wait),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pool", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bursts", type=int, default=Effort.bursts, help="bursts of four calls (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few bursts only, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    arguments = parser.parse_args(argv)
    if arguments.bursts < 1:
        parser.error("--bursts must be at least 1")
    effort = Effort(bursts=4 if arguments.quick else arguments.bursts)
    rows = measure(effort, lambda: print(".", end="", file=sys.stderr, flush=True))
    print(file=sys.stderr)
    print(table(rows))
    if arguments.json is not None:
        content = {
            "environment": environment(),
            "effort": vars(effort),
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
