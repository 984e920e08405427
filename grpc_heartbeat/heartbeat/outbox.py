"""The request iterator of a synchronous stream: a queue that grpc's feeding thread blocks on."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue


class Outbox:
    """Frames to send, in order.

    grpc asks for the next request once the transport has taken the one before, which is how a beat's writing is known.

    Args:
        on_written: Called with the number that was put beside the frame, from grpc's thread.
    """

    def __init__(self, on_written: Callable[[int], None]) -> None:
        self._queue: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        self._on_written = on_written
        self._writing = 0

    def put(self, data: bytes, number: int = 0) -> None:
        """Send ``data``; after :meth:`close` it is dropped."""
        self._queue.put((data, number))

    def close(self) -> None:
        """Half-close after what was put before."""
        self._queue.put(None)

    def __iter__(self) -> Outbox:
        return self

    def __next__(self) -> bytes:
        if self._writing:
            self._on_written(self._writing)
            self._writing = 0
        item = self._queue.get()
        if item is None:
            raise StopIteration
        data, self._writing = item
        return data
