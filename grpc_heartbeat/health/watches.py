"""Health watches on a synchronous server: no thread waits for a status to change.

gRPC gives a handler that is marked non-blocking a function that sends a response and returns when it is written. That blocks
while a watcher does not read, so it is called on a few threads of our own, never on the thread that changed a status and never
on one that answers Checks. A watcher that takes no message for :data:`PATIENCE` seconds is cut off.

An interceptor that wraps the handler loses the mark; then the watch holds the server's thread that runs it, as any stream does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.health_board import END, WatchSlot, WatchTable
from grpc_heartbeat.health.board import HealthBoard
from grpc_heartbeat.health.words import gone
from grpc_heartbeat.heartbeat.pool import DaemonPool

PATIENCE = 10.0
"""Seconds that the writing of one status may take."""


class SyncWatches:
    """All watches of one server."""

    def __init__(self, board: HealthBoard, senders: DaemonPool, responses: Mapping[int | None, Any]) -> None:
        self._board = board
        self._senders = senders
        self._responses = responses
        self._lock = threading.RLock()  # a signal handler may drain the board on the thread that holds it
        self._table = WatchTable()
        board.listen(self._tell)
        board.on_leave(self._end)

    def serve(self, service: str, context: grpc.ServicerContext, send: Callable[[Any], None] | None) -> Any:
        """Serve one Watch; returns an iterator if gRPC gave no function to send with."""
        if send is None:
            return self._iterate(service, context)
        watch = _Watch(context)
        watch.start = lambda: self._senders.submit(self._pump, watch, send)
        self._begin(service, watch)
        return None

    def _begin(self, service: str, watch: _Watch) -> None:
        with self._lock:
            over = self._table.over
            start = not over and self._table.add(service, watch, self._board.find(service))
        if over:
            watch.context.abort(grpc.StatusCode.UNAVAILABLE, gone(self._board.leaving))
        if not watch.context.add_callback(lambda: self._drop(service, watch)):
            self._drop(service, watch)
        elif start:
            watch.start()

    def _drop(self, service: str, watch: _Watch) -> None:
        with self._lock:
            self._table.drop(service, watch)

    def _tell(self, service: str, _status: object) -> None:
        with self._lock:
            self._start(self._table.tell(service, self._board.find(service)))

    def _end(self, _reason: str) -> None:
        with self._lock:
            self._start(self._table.end())

    def _start(self, slots: list[WatchSlot]) -> None:
        for slot in slots:
            assert isinstance(slot, _Watch)
            slot.start()

    def _next(self, watch: _Watch) -> Any:
        with self._lock:
            return watch.take()

    def _pump(self, watch: _Watch, send: Callable[[Any], None]) -> None:
        """Send what there is to be sent to one watcher."""
        limit = timers().timeout(PATIENCE, watch.context.cancel)
        try:
            while (status := self._next(watch)) is not None:
                limit.arm(clock())
                if status is END:
                    send(None)
                    return
                send(self._responses[status])
        except Exception as error:
            _faults.record("health.watch", error)
        finally:
            limit.cancel()

    def _iterate(self, service: str, context: grpc.ServicerContext) -> Iterator[Any]:
        watch = _Watch(context)
        due = threading.Event()
        watch.start = due.set
        self._begin(service, watch)
        context.add_callback(due.set)
        while context.is_active():
            due.wait()
            due.clear()
            while (status := self._next(watch)) is not None:
                if status is END:
                    return
                yield self._responses[status]


class _Watch(WatchSlot):
    """One watcher. ``start()`` has its sender look at the slot."""

    __slots__ = ("context", "start")

    def __init__(self, context: grpc.ServicerContext) -> None:
        super().__init__()
        self.context = context
        self.start: Callable[[], object] = _nothing


def _nothing() -> None:
    pass
