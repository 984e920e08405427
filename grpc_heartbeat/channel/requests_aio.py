"""Watches how long a request message waits to be taken, where the application gives an iterator."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from time import monotonic
from typing import Any

from grpc_heartbeat.core.guard import Guard


def watched_requests(requests: Any, guard: Guard) -> Any:
    """Return ``requests`` so that ``guard`` is told since when a message has been waiting.

    gRPC asks for the next one when it has got rid of the one before. It treats asynchronous and plain iterators differently, so
    each stays what it is. What cannot be iterated over is found by gRPC, when it tries to.
    """
    return (_AsyncRequests if isinstance(requests, AsyncIterable) else _Requests)(requests, guard)


class _AsyncRequests(AsyncIterator[Any]):
    def __init__(self, requests: Any, guard: Guard) -> None:
        self._requests = requests
        self._guard = guard

    def __aiter__(self) -> AsyncIterator[Any]:
        self._requests = aiter(self._requests)
        return self

    async def __anext__(self) -> Any:
        guard = self._guard
        guard.writing_since = None
        request = await anext(self._requests)
        guard.writing_since = monotonic()
        return request


class _Requests(Iterator[Any]):
    def __init__(self, requests: Any, guard: Guard) -> None:
        self._requests = requests
        self._guard = guard

    def __iter__(self) -> Iterator[Any]:
        self._requests = iter(self._requests)
        return self

    def __next__(self) -> Any:
        guard = self._guard
        guard.writing_since = None
        request = next(self._requests)
        guard.writing_since = monotonic()
        return request
