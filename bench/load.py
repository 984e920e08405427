"""Makes single calls, or reads a few messages of a long stream, as one client variant makes them; each is timed by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import perf_counter, process_time
from typing import Any

from bench.harness import Sample
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
        self._responses: Any = iter(())

    def call(self) -> Sample:
        """Make one call. The scope is entered before the clock starts: a handler has one anyway."""
        call, timeout, metadata = self._unary, self._variant.timeout, self._variant.metadata
        with self._variant.scope():
            cpu, wall = process_time(), perf_counter()
            call(PAYLOAD, timeout=timeout, metadata=metadata)
            wall, cpu = perf_counter() - wall, process_time() - cpu
        return Sample(wall, cpu)

    def open_stream(self, messages: int) -> None:
        """Open a stream of so many messages for ``read``, and read one."""
        with self._variant.scope():
            self._responses = self._stream(
                b"%d" % (messages + 1), timeout=self._variant.timeout, metadata=self._variant.metadata
            )
        next(self._responses)

    def read(self, count: int) -> Sample:
        """Read ``count`` messages of the open stream."""
        responses = self._responses
        cpu, wall = process_time(), perf_counter()
        for _ in range(count):
            next(responses)
        wall, cpu = perf_counter() - wall, process_time() - cpu
        return Sample(wall / count, cpu / count)

    def close_stream(self) -> None:
        """Read the end of the stream; it must have been read to there."""
        assert next(self._responses, None) is None

    def whole_stream(self, messages: int) -> Sample:
        """Make one call that receives so many messages."""
        wall = perf_counter()
        received = sum(1 for _ in self._stream(b"%d" % messages, timeout=self._variant.timeout))
        wall = perf_counter() - wall
        assert received == messages
        return Sample(wall / messages)

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
        self._responses: Any = None

    async def _open(self, target: str) -> Any:
        return self._variant.open(target)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def call(self) -> Sample:
        call, timeout, metadata = self._unary, self._variant.timeout, self._variant.metadata
        with self._variant.scope():
            cpu, wall = process_time(), perf_counter()
            await call(PAYLOAD, timeout=timeout, metadata=metadata)
            wall, cpu = perf_counter() - wall, process_time() - cpu
        return Sample(wall, cpu)

    async def open_stream(self, messages: int) -> None:
        with self._variant.scope():
            call = self._stream(b"%d" % (messages + 1), timeout=self._variant.timeout, metadata=self._variant.metadata)
        self._responses = aiter(call)
        await anext(self._responses)

    async def read(self, count: int) -> Sample:
        responses = self._responses
        cpu, wall = process_time(), perf_counter()
        for _ in range(count):
            await anext(responses)
        wall, cpu = perf_counter() - wall, process_time() - cpu
        return Sample(wall / count, cpu / count)

    async def close_stream(self) -> None:
        assert await anext(self._responses, None) is None

    def close(self) -> None:
        self._run(self._channel.close())
