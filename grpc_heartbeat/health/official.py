"""Keeps the health servicers of grpcio-health-checking in step with a board, without touching them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from grpc_heartbeat import _faults
from grpc_heartbeat.core.frames import ServingStatus


def follow(servicer: Any) -> Callable[[str, ServingStatus], object]:
    """Return a listener that sets on ``servicer`` what it hears.

    Raises:
        TypeError: ``servicer`` has no ``set`` method.
        RuntimeError: ``set`` is a coroutine function, and no loop is running.
    """
    if not callable(getattr(servicer, "set", None)):
        raise TypeError(f"servicer must be a health servicer with a set method, not {type(servicer).__name__}")
    if inspect.iscoroutinefunction(servicer.set):
        return _AioFollower(servicer, asyncio.get_running_loop()).hear
    return lambda service, status: servicer.set(service, int(status))


class _AioFollower:
    """Takes statuses on any thread and sets them on the loop, one after the other, the newest of each service."""

    def __init__(self, servicer: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._servicer = servicer
        self._loop = loop
        self._waiting: dict[str, ServingStatus] = {}
        self._task: asyncio.Task[None] | None = None

    def hear(self, service: str, status: ServingStatus) -> None:
        """Hear from the board."""
        self._waiting[service] = status
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start, context=contextvars.Context())

    def _start(self) -> None:
        if self._waiting and (self._task is None or self._task.done()):
            self._task = self._loop.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._waiting:
            service, status = self._waiting.popitem()
            try:
                await self._servicer.set(service, int(status))
            except Exception as error:
                _faults.record("health.mirror", error)
