"""Every way to make a call on the asyncio stack, run to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import grpc.aio

from tests.peers import path


class Way(NamedTuple):
    """One way to make a call.

    Attributes:
        kind: The RPC kind.
        by_hand: Whether messages of streams are read and written one by one, instead of by iterators.
    """

    kind: str
    by_hand: bool = False

    def start(self, channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
        """Return the call; by hand, its requests are not written yet."""
        methods = (channel.unary_unary, channel.unary_stream, channel.stream_unary, channel.stream_stream)
        method = methods[("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream").index(self.kind)](path(self.kind))
        if self.kind.startswith("Unary"):
            return method(next(iter(requests)), **kwargs)
        return method(**kwargs) if self.by_hand else method(asynchronously(requests), **kwargs)

    async def finish(
        self, call: Any, requests: Iterable[bytes], consume: Callable[[], Awaitable[Any]] | None = None
    ) -> Any:
        """Write, if it is done by hand, and return all responses; ``consume`` is awaited after each of a stream."""
        if self.by_hand and self.kind.startswith("Stream"):
            for request in requests:
                await call.write(request)
            await call.done_writing()
        if self.kind.endswith("Unary"):
            return [await call]
        responses = []
        async for response in by_read(call) if self.by_hand else call:
            responses.append(response)
            if consume is not None:
                await consume()
        return responses

    async def run(self, channel: Any, *requests: bytes, **kwargs: Any) -> Any:
        return await self.finish(self.start(channel, requests, **kwargs), requests)


async def asynchronously(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield ``requests``."""
    for request in requests:
        yield request


async def by_read(call: Any) -> AsyncIterator[Any]:
    """Yield what ``call.read()`` gives."""
    while (response := await call.read()) is not grpc.aio.EOF:
        yield response


WAYS: dict[str, Way] = {
    "unary-unary": Way("UnaryUnary"),
    "unary-stream": Way("UnaryStream"),
    "unary-stream by hand": Way("UnaryStream", by_hand=True),
    "stream-unary": Way("StreamUnary"),
    "stream-unary by hand": Way("StreamUnary", by_hand=True),
    "stream-stream": Way("StreamStream"),
    "stream-stream by hand": Way("StreamStream", by_hand=True),
}
READING = {name: way for name, way in WAYS.items() if way.kind.endswith("Stream")}
"""Those with response messages to wait for."""
WRITING = {name: way for name, way in WAYS.items() if way.kind.startswith("Stream")}
"""Those with request messages to get rid of."""
