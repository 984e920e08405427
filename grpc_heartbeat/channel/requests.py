"""Watches how long a request message waits to be taken."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

from grpc_heartbeat.core.guard import Guard


class WatchedRequests(Iterator[Any]):
    """The requests of a call, as gRPC reads them: it asks for the next one when it has got rid of the one before.

    Args:
        requests: The application's iterator.
        guard: Told since when a message has been waiting.
    """

    __slots__ = ("_guard", "_requests")

    def __init__(self, requests: Any, guard: Guard) -> None:
        self._requests = requests
        self._guard = guard

    def __next__(self) -> Any:
        guard = self._guard
        guard.writing_since = None
        request = next(self._requests)
        guard.writing_since = monotonic()
        return request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._requests, name)
