"""Makes calls in a closed loop, one after the other, as one client variant makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from bench.servers import STREAM, UNARY
from bench.variants import ClientVariant

PAYLOAD = b"sixteen bytes :-"


class SyncLoad:
    """Calls over one channel of the sync stack."""

    def __init__(self, variant: ClientVariant, target: str) -> None:
        self._variant = variant
        self._channel = variant.open(target)
        self._unary = self._channel.unary_unary(UNARY)
        self._stream = self._channel.unary_stream(STREAM)

    def unary(self, count: int) -> None:
        """Make ``count`` calls."""
        call, timeout, metadata = self._unary, self._variant.timeout, self._variant.metadata
        with self._variant.scope():
            for _ in range(count):
                call(PAYLOAD, timeout=timeout, metadata=metadata)

    def stream(self, count: int) -> None:
        """Make one call that receives ``count`` messages."""
        with self._variant.scope():
            received = sum(
                1 for _ in self._stream(b"%d" % count, timeout=self._variant.timeout, metadata=self._variant.metadata)
            )
        assert received == count

    def close(self) -> None:
        self._channel.close()


class AioLoad:
    """The same over one channel of the asyncio stack, on a loop that the caller owns."""

    def __init__(self, variant: ClientVariant, target: str, loop: asyncio.AbstractEventLoop) -> None:
        self._variant = variant
        self._loop = loop
        self._channel: Any = self._run(self._open(target))
        self._unary = self._channel.unary_unary(UNARY)
        self._stream = self._channel.unary_stream(STREAM)

    async def _open(self, target: str) -> Any:
        return self._variant.open(target)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def unary(self, count: int) -> None:
        """Make ``count`` calls."""
        self._run(self._make_calls(count))

    def stream(self, count: int) -> None:
        """Make one call that receives ``count`` messages."""
        self._run(self._receive(count))

    async def _make_calls(self, count: int) -> None:
        call, timeout, metadata = self._unary, self._variant.timeout, self._variant.metadata
        with self._variant.scope():
            for _ in range(count):
                await call(PAYLOAD, timeout=timeout, metadata=metadata)

    async def _receive(self, count: int) -> None:
        received = 0
        with self._variant.scope():
            async for _ in self._stream(b"%d" % count, timeout=self._variant.timeout, metadata=self._variant.metadata):
                received += 1
        assert received == count

    def close(self) -> None:
        self._run(self._channel.close())
