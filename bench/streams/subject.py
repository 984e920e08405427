"""The side under test, in a process of its own: a server, or thousands of clients on one channel.

``python -m bench.streams.subject server STACK DESIGN STREAMS`` prints the server's port.
``python -m bench.streams.subject client STACK DESIGN TARGET`` holds clients. Orders on its standard input: ``hold STREAMS
INTERVAL CHANNELS`` (clients), ``settle``, ``mark``, ``hoard`` and ``garbage`` (``bench.readings``). They are obeyed on a thread
that sleeps in between.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

import grpc_heartbeat
import grpc_heartbeat.aio
from bench.orders import answer
from bench.readings import Readings
from bench.streams import naive
from bench.streams.load import AT_ONCE, more_files
from grpc_heartbeat import HeartbeatPolicy
from grpc_heartbeat.core.stream_limits import StreamLimits
from grpc_heartbeat.v1 import heartbeat_pb2_grpc as pb_grpc

OPTIONS = [("grpc.so_reuseport", 0)]
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
PATIENCE = 120.0
LONGEST_TIMEOUT = 5.0
UNREAD = 600.0
FORGIVING = 1000
"""Misses that a client forgives: a benchmark is not to open streams anew."""


def policy_of(interval: float) -> HeartbeatPolicy:
    """Return our clients' policy."""
    return HeartbeatPolicy(interval=interval, timeout=min(interval, LONGEST_TIMEOUT), misses=FORGIVING)


def limits_of(streams: int) -> StreamLimits:
    """Return our servers' limits: all streams come from one address, beat as fast as they can and promise little.

    ``unread`` is so long that they are answered as those are that promise a beat within seconds.
    """
    return StreamLimits(per_host=streams + 8, beats_per_second=1_000_000, unread=UNREAD)


class Subject:
    """Something under test with its readings."""

    def tasks(self) -> int:
        """Return how many asyncio tasks there are."""
        return 0

    def hold(self, streams: int, interval: float, channels: int) -> None:
        """Open streams and beat on them, until each has been answered."""
        raise NotImplementedError

    def obey(self) -> None:
        """Obey orders until there are no more."""
        readings = Readings()
        for line in sys.stdin:
            order, *words = line.split()
            if order == "hold":
                self.hold(int(words[0]), float(words[1]), int(words[2]))
                answer()
            elif order == "mark":
                answer(**readings.mark(), tasks=self.tasks())
            else:
                answer(**getattr(readings, order)())


class SyncServer(Subject):
    """A server whose pool has a thread for each naive stream."""

    def __init__(self, design: str, streams: int) -> None:
        pool = ThreadPoolExecutor(streams + 8 if design == "naive" else 4)
        server = grpc.server(pool, options=OPTIONS)
        if design == "naive":
            pb_grpc.add_HeartbeatServicer_to_server(naive.Servicer(), server)
        else:
            grpc_heartbeat.add_to_server(server, max_streams=streams + 8, limits=limits_of(streams))
        answer(port=server.add_insecure_port("127.0.0.1:0"))
        server.start()
        self._server = server


class SyncClients(Subject):
    """Clients on channels of the sync stack."""

    def __init__(self, design: str, target: str) -> None:
        self._design = design
        self._target = target
        self._held: list[Any] = []
        answer(ready=True)

    def hold(self, streams: int, interval: float, channels: int) -> None:
        options = OWN_CONNECTION if channels > 1 else []
        ends = [grpc.insecure_channel(self._target, options) for _ in range(channels)]
        for end in ends:
            grpc.channel_ready_future(end).result(PATIENCE)
        for number in range(streams):
            self._held.append(self._open(ends[number % channels], interval))
            if number >= AT_ONCE:
                self._wait(self._held[-AT_ONCE])
        for one in self._held:
            self._wait(one)

    def _open(self, channel: grpc.Channel, interval: float) -> Any:
        if self._design == "naive":
            return naive.Holder(channel, interval)
        return grpc_heartbeat.wrap_channel(channel, heartbeat=policy_of(interval))

    def _wait(self, one: Any) -> None:
        if self._design == "naive":
            assert one.opened.wait(PATIENCE)
        else:
            until(lambda: one.heartbeat.snapshot().streams > 0)


class OnLoop(Subject):
    """A subject whose own thread runs a loop, while orders are obeyed on another."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def tasks(self) -> int:
        return int(self.call(_tasks()))

    def call(self, work: Any) -> Any:
        """Run a coroutine on the loop, from the thread of the orders."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def obey(self) -> None:
        threading.Thread(target=self._obey, daemon=True).start()
        self.loop.run_forever()

    def _obey(self) -> None:
        super().obey()
        self.loop.call_soon_threadsafe(self.loop.stop)


class AioServer(OnLoop):
    """A server on a loop."""

    def __init__(self, design: str, streams: int) -> None:
        super().__init__()
        self.loop.run_until_complete(self._start(design, streams))

    async def _start(self, design: str, streams: int) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        if design == "naive":
            pb_grpc.add_HeartbeatServicer_to_server(naive.AioServicer(), self._server)
        else:
            grpc_heartbeat.aio.add_to_server(self._server, max_streams=streams + 8, limits=limits_of(streams))
        answer(port=self._server.add_insecure_port("127.0.0.1:0"))
        await self._server.start()


class AioClients(OnLoop):
    """Clients on channels of the asyncio stack."""

    def __init__(self, design: str, target: str) -> None:
        super().__init__()
        self._design = design
        self._target = target
        self._held: list[Any] = []
        answer(ready=True)

    def hold(self, streams: int, interval: float, channels: int) -> None:
        self.call(self._hold(streams, interval, channels))

    async def _hold(self, streams: int, interval: float, channels: int) -> None:
        options = OWN_CONNECTION if channels > 1 else []
        ends = [grpc.aio.insecure_channel(self._target, options) for _ in range(channels)]
        await asyncio.gather(*(end.channel_ready() for end in ends))
        for number in range(streams):
            self._held.append(self._open(ends[number % channels], interval))
            if number >= AT_ONCE:
                await self._wait(self._held[-AT_ONCE])
        for one in self._held:
            await self._wait(one)

    def _open(self, channel: grpc.aio.Channel, interval: float) -> Any:
        if self._design == "naive":
            return naive.AioHolder(channel, interval)
        return grpc_heartbeat.aio.wrap_channel(channel, heartbeat=policy_of(interval))

    async def _wait(self, one: Any) -> None:
        if self._design == "naive":
            await one.opened.wait()
            return
        while one.heartbeat is None or one.heartbeat.snapshot().streams == 0:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.002)  # a callback per heartbeat would be on the account of what is measured


async def _tasks() -> int:
    return len(asyncio.all_tasks()) - 1  # this one


def until(done: Callable[[], bool]) -> None:
    """Wait until ``done()``."""
    give_up = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < give_up, "a stream was not opened"
        time.sleep(0.002)


SUBJECTS: dict[tuple[str, str], Callable[[str, Any], Subject]] = {
    ("server", "sync"): SyncServer,
    ("server", "aio"): AioServer,
    ("client", "sync"): SyncClients,
    ("client", "aio"): AioClients,
}


def main() -> None:
    side, stack, design, last = sys.argv[1:]
    more_files()
    SUBJECTS[side, stack](design, int(last) if side == "server" else last).obey()


if __name__ == "__main__":
    main()
