"""A server without this library that is slow in the way that a request's word asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from tests.peers import PATIENCE, SyncServer

SILENT = b"silent"
"""Sends nothing, not even its initial metadata, until the RPC is over."""
HOLD = b"hold"
"""Accepts, then sends and reads nothing until the RPC is over."""
STALL = b"stall"
"""Accepts, sends one message, then nothing until the RPC is over."""
PAUSE = b"pause"
"""Accepts, and takes ``PAUSES`` with each message."""
NOTHING = b"nothing"
"""Ends well without a message."""

PAUSES = 0.15
BIG = bytes(1 << 20)


class SlowServer:
    """Answers one message for unary responses and four in a stream.

    ``started`` is set when a request is there, ``ended`` when an RPC ends before it was served.
    """

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self._server = SyncServer(
            {
                "UnaryUnary": lambda request, context: self._one(iter([request]), context),
                "UnaryStream": lambda request, context: self._many(iter([request]), context),
                "StreamUnary": self._one,
                "StreamStream": self._many,
            }
        )
        self.target = self._server.target

    def _one(self, requests: Iterator[bytes], context: Any) -> bytes | None:
        last = None
        for response in self._many(requests, context):
            last = response
        return last

    def _many(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        over = threading.Event()
        served = False

        def ended() -> None:
            over.set()
            if not served:
                self.ended.set()

        context.add_callback(ended)
        word = next(requests)
        self.started.set()
        if word == SILENT:
            over.wait(PATIENCE)
        context.send_initial_metadata((("accepted", "yes"),))
        if word == HOLD:
            over.wait(PATIENCE)
        if word != NOTHING:
            rest = sum(1 for _ in requests)
            for _ in range(4):
                if word == PAUSE:
                    over.wait(PAUSES)
                yield b"%s %d" % (word, rest)
                if word == STALL:
                    over.wait(PATIENCE)
        served = True

    def over(self) -> bool:
        """Tell whether the RPC has ended early, waiting for it; one that ended before it came here has."""
        return not self.started.is_set() or self.ended.wait(PATIENCE)

    def close(self) -> None:
        self._server.close()
