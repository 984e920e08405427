"""The request iterator of an asyncio stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable


class AioOutbox:
    """Frames to send, in order; grpc asks for the next once the transport has taken the one before.

    Args:
        on_written: Called with the number that was put beside the frame.
    """

    def __init__(self, on_written: Callable[[int], None]) -> None:
        self._frames: deque[tuple[bytes, int]] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._on_written = on_written

    def put(self, data: bytes, number: int = 0) -> None:
        """Send ``data``; after :meth:`close` it is dropped."""
        if not self._closed:
            self._frames.append((data, number))
            self._changed.set()

    def close(self) -> None:
        """Half-close after what was put before."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._frames:
                data, number = self._frames.popleft()
                yield data
                if number:
                    self._on_written(number)
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()
