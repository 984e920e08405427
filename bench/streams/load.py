"""Clients of a heartbeat server: thousands of streams of one process, cheaper than any that grpcio could hold.

``python -m bench.streams.load TARGET PROMISE`` takes orders on its standard input: ``open STREAMS CONNECTIONS`` opens streams
and beats once on each; ``saturate SECONDS`` has a beat in flight on every stream all the time; ``pace RATE SECONDS`` sends
so many a second, the streams in turn, by a tick of 10 ms. The answers have the beats that were echoed, and how late.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
from collections.abc import Callable
from itertools import cycle
from time import perf_counter
from typing import Any

from bench.orders import answer
from bench.streams import messages
from bench.streams.h2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    Connection,
    PeerError,
    frame,
    literal,
)
from grpc_heartbeat.heartbeat.calls import KEEPALIVE

TICK = 0.01
PATIENCE = 60.0
AT_ONCE = 200
"""Streams that are being opened at a time."""


class Stream:
    """One held stream."""

    __slots__ = ("connection", "number", "sent_at", "sequence")

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.sequence = 0
        self.sent_at = 0.0


class Load:
    """All streams, and what is known of their beats."""

    def __init__(self, target: str, promise: float) -> None:
        host, _, port = target.rpartition(":")
        self._address = (host, int(port))
        self._request = _request(target)
        self._beats = messages.beats(promise)
        self._selector = selectors.DefaultSelector()
        self.streams: list[Stream] = []
        self.echoed = 0
        self.delays: list[float] = []
        self._again = False

    def connect(self) -> tuple[Connection, dict[int, Stream]]:
        """Open a connection; return it with the place for its streams by number."""
        streams: dict[int, Stream] = {}
        bodies = messages.Bodies()

        def heard(kind: int, flags: int, number: int, payload: bytes) -> None:
            if kind == RST_STREAM or (flags & END_STREAM and kind in (DATA, HEADERS)):
                raise PeerError(f"the server ended stream {number}: {payload!r}")
            if kind == DATA:
                for body in bodies.of(number, payload):
                    if messages.is_ack(body):
                        self._acked(streams[number])

        connection = Connection(socket.create_connection(self._address), heard, PREFACE)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection, streams

    def open(self, count: int, connections: int) -> dict[str, Any]:
        """Open ``count`` streams, each with a first beat that is echoed."""
        ends = [self.connect() for _ in range(connections)]
        began = perf_counter()
        for number, (connection, streams) in zip(range(count), cycle(ends), strict=False):
            stream = Stream(connection, 2 * len(streams) + 1)
            streams[stream.number] = stream
            self.streams.append(stream)
            connection.put(frame(HEADERS, END_HEADERS, stream.number, self._request))
            connection.data(frame(DATA, 0, stream.number, messages.hello("load")))
            self._beat(stream)
            connection.flush()
            self._wait(lambda opened=number + 1 - AT_ONCE: self.echoed >= opened)  # type: ignore[misc]
        self._wait(lambda: self.echoed >= count)
        return {"streams": count, "seconds": perf_counter() - began}

    def saturate(self, seconds: float) -> dict[str, Any]:
        """Send the next beat on each stream as soon as the last was echoed."""
        self._begin()
        self._again = True
        for stream in self.streams:
            self._beat(stream)
        self._flush()
        began = perf_counter()
        while perf_counter() - began < seconds:
            self._turn(0.1)
        return self._end(began)

    def pace(self, rate: float, seconds: float) -> dict[str, Any]:
        """Send ``rate`` beats a second; a stream whose last beat was not echoed yet is passed over."""
        self._begin()
        began, sent = perf_counter(), 0
        turns = cycle(self.streams)
        while (elapsed := perf_counter() - began) < seconds:
            for stream, _ in zip(turns, range(int(elapsed * rate) - sent), strict=False):
                sent += 1
                if not stream.sent_at:
                    self._beat(stream)
            self._flush()
            self._turn(TICK - (perf_counter() - began) % TICK)
        return self._end(began)

    def _begin(self) -> None:
        self.echoed = 0
        self.delays = []

    def _end(self, began: float) -> dict[str, Any]:
        """Say what was echoed; then wait for what is still in flight."""
        echoed, seconds, self._again = self.echoed, perf_counter() - began, False
        sent = sum(1 for stream in self.streams if stream.sent_at)
        self._wait(lambda: self.echoed >= echoed + sent)
        return {"beats": echoed, "seconds": seconds, "delays": quantiles(self.delays)}

    def _beat(self, stream: Stream) -> None:
        stream.sequence += 1
        stream.sent_at = perf_counter()
        stream.connection.data(self._beats.data(stream.number, stream.sequence))

    def _acked(self, stream: Stream) -> None:
        self.echoed += 1
        self.delays.append(perf_counter() - stream.sent_at)
        stream.sent_at = 0.0
        if self._again:
            self._beat(stream)

    def _wait(self, done: Callable[[], bool]) -> None:
        give_up = perf_counter() + PATIENCE
        while not done():
            if perf_counter() > give_up:
                raise PeerError(f"the server has answered only {self.echoed} beats in {PATIENCE:g} s")
            self._turn(0.1)

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(0.0, seconds)):
            key.data.read()
            key.data.flush()
            if not key.data.open:
                raise PeerError("the server closed the connection")

    def _flush(self) -> None:
        for key in self._selector.get_map().values():
            key.data.flush()


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median, the 99th of a hundred and the largest, in milliseconds."""
    if not values:
        return {}
    values = sorted(values)
    ranks = {"p50": len(values) // 2, "p99": len(values) * 99 // 100, "max": len(values) - 1}
    return {name: values[rank] * 1e3 for name, rank in ranks.items()}


def _request(target: str) -> bytes:
    """Return the header block of a call; what comes from the static table is named by its number."""
    method_post, scheme_http, path, authority, content_type = b"\x83", b"\x86", 4, 1, 31
    fields = ((path, KEEPALIVE), (authority, target), (content_type, "application/grpc"), ("te", "trailers"))
    return method_post + scheme_http + b"".join(literal(name, value) for name, value in fields)


def more_files() -> None:
    """Allow this process as many sockets as the system lets it have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    more_files()
    load = Load(sys.argv[1], float(sys.argv[2]))
    answer(ready=True)
    for line in sys.stdin:
        order, *words = line.split()
        if order == "open":
            answer(**load.open(int(words[0]), int(words[1])))
        elif order == "saturate":
            answer(**load.saturate(float(words[0])))
        else:
            answer(**load.pace(float(words[0]), float(words[1])))


if __name__ == "__main__":
    main()
