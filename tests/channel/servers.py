"""A server for client-side tests: answers, waits for its own end, or fails, as the request says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from tests.peers import PATIENCE, SyncServer

HOLD = b"hold"
FAIL = b"fail"


class Server:
    """Counts the RPCs that reached it and remembers their metadata."""

    def __init__(self) -> None:
        self.calls = 0
        self.metadata: list[tuple[tuple[str, str | bytes], ...]] = []
        self.remaining: list[float] = []
        self.started = threading.Event()
        self.ended = threading.Event()
        self._server = SyncServer(
            {
                "UnaryUnary": self._one,
                "UnaryStream": self._many,
                "StreamUnary": lambda requests, context: self._one(b",".join(requests), context),
                "StreamStream": lambda requests, context: self._many(b",".join(requests), context),
            }
        )
        self.target = self._server.target

    def _one(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.metadata.append(tuple((key, value) for key, value in context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        over = threading.Event()
        if not context.add_callback(over.set):  # it is over already
            over.set()
        self.started.set()
        if request == HOLD and over.wait(PATIENCE):
            self.ended.set()
        if request == FAIL:
            context.set_trailing_metadata((("why", "asked"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "you asked for it")
        return request

    def _many(self, request: bytes, context: Any) -> Iterator[bytes]:
        response = self._one(request, context)
        yield response
        yield response

    def close(self) -> None:
        self._server.close()
