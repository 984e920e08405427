"""Health watches on an asyncio server: each is a coroutine that waits for its slot.

Statuses change on any thread. Their names are collected and told to the watchers on the loop, by one call however many
watchers there are. A watcher that does not read holds its own coroutine and no more; grpc.aio has no means to cut it off.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat.core.health_board import END, WatchSlot, WatchTable
from grpc_heartbeat.health.board import HealthBoard
from grpc_heartbeat.health.words import gone


class AioWatches:
    """All watches of one server. Its loop is known from the first of them on."""

    def __init__(self, board: HealthBoard, responses: Mapping[int | None, Any]) -> None:
        self._board = board
        self._responses = responses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._table = WatchTable()
        self._lock = threading.RLock()  # as in SyncWatches
        self._changed: set[str] = set()
        board.listen(self._tell)
        board.on_leave(self._leave)

    async def serve(self, service: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve one Watch until the client, the server or a drain ends it."""
        self._bind(asyncio.get_running_loop())
        if self._board.leaving is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, gone(self._board.leaving))
        watch = _Watch()
        self._table.add(service, watch, self._board.find(service))
        try:
            await self._pump(watch, context)
        finally:
            self._table.drop(service, watch)

    async def _pump(self, watch: _Watch, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while (status := watch.take()) is not END:
            if status is None:
                await watch.due.wait()
                watch.due.clear()
            else:
                await context.write(self._responses[status])

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            with self._lock:
                self._loop = loop
                self._changed.clear()  # what was meant for a loop that is gone

    def _tell(self, service: str, _status: object) -> None:
        with self._lock:
            asked = bool(self._changed)
            self._changed.add(service)
        if not asked:
            self._call(self._tell_all)

    def _leave(self, _reason: str) -> None:
        self._call(self._end)

    def _call(self, function: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function, context=contextvars.Context())
        else:
            with self._lock:
                self._changed.clear()  # nobody watches; whoever comes finds what the board says

    def _tell_all(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, set()
        for service in changed:
            _start(self._table.tell(service, self._board.find(service)))

    def _end(self) -> None:
        _start(self._table.end())


class _Watch(WatchSlot):
    """One watcher; ``due`` is set when its coroutine has to look at the slot."""

    __slots__ = ("due",)

    def __init__(self) -> None:
        super().__init__()
        self.due = asyncio.Event()


def _start(slots: list[WatchSlot]) -> None:
    for slot in slots:
        assert isinstance(slot, _Watch)
        slot.due.set()
