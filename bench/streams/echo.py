"""A heartbeat server that only answers: hello with hello, each beat with an ack.

``python -m bench.streams.echo INTERVAL`` prints its port and takes orders on its standard input: ``mark`` answers with the
beats that came since the last mark, and forgets them. ``late`` is how far they came behind the schedule of their stream: the
instants ``first + n · interval``, moved back by as much as the earliest beat came before them.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from itertools import count
from time import perf_counter
from typing import Any

from bench.orders import answer
from bench.streams import messages
from bench.streams.h2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, Connection, frame, literal
from bench.streams.load import more_files, quantiles

_OK = b"\x88" + literal(31, "application/grpc")
_ENDED = literal("grpc-status", "0")


class Echo:
    """All connections, and when which stream's beats came."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._acks = messages.acks()
        self._hello = messages.hello("echo")
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._order)
        self._numbers = count()
        self._streams = 0
        self._beats = 0
        self._since = perf_counter()
        self._came: dict[tuple[int, int], list[float]] = {}
        self.port = self._listener.getsockname()[1]

    def run(self) -> None:
        """Serve until the standard input ends."""
        while True:
            for key, _ in self._selector.select():
                if key.data() is False:
                    return

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        me = next(self._numbers)
        bodies = messages.Bodies()

        def heard(kind: int, flags: int, number: int, payload: bytes) -> None:
            if kind == HEADERS:
                self._streams += 1
                connection.put(frame(HEADERS, END_HEADERS, number, _OK))
                connection.data(frame(DATA, 0, number, self._hello))
            elif kind == DATA:
                for body in bodies.of(number, payload):
                    sequence = messages.beat_sequence(body)
                    if sequence is not None:
                        self._beats += 1
                        self._came.setdefault((me, number), []).append(perf_counter())
                        connection.data(self._acks.data(number, sequence))
            if flags & END_STREAM and kind in (DATA, HEADERS):
                connection.put(frame(HEADERS, END_HEADERS | END_STREAM, number, _ENDED))

        def ready() -> None:
            connection.read()
            connection.flush()
            if not connection.open:
                self._selector.unregister(ours)
                ours.close()

        connection = Connection(ours, heard, expects=len(PREFACE))
        self._selector.register(ours, selectors.EVENT_READ, ready)

    def _order(self) -> bool:
        if not os.read(sys.stdin.fileno(), 64):
            return False
        now = perf_counter()
        facts: dict[str, Any] = {"streams": self._streams, "beats": self._beats, "seconds": now - self._since}
        answer(**facts, late=quantiles(self._late()))
        self._beats, self._since = 0, now
        self._came.clear()
        return True

    def _late(self) -> list[float]:
        found: list[float] = []
        for times in self._came.values():
            if len(times) > 1 and self._interval:
                places = [
                    time - times[0] - round((time - times[0]) / self._interval) * self._interval for time in times
                ]
                earliest = min(places)
                found += [place - earliest for place in places]
        return found


def main() -> None:
    more_files()
    echo = Echo(float(sys.argv[1]))
    answer(port=echo.port)
    echo.run()


if __name__ == "__main__":
    main()
