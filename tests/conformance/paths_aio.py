"""The call paths of the asyncio stack: every way in which grpc.aio lets a program make a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from tests.conformance.outcome import Outcome

Consumer = Callable[[], Awaitable[Any]] | None


class Path(NamedTuple):
    """One way of making a call.

    Attributes:
        kind: The RPC kind.
        reads: Whether responses are read by ``read()`` instead of iterated over.
        writes: Whether requests are written by ``write()`` instead of handed over as an iterator.
    """

    kind: str
    reads: bool = False
    writes: bool = False

    @property
    def streams_requests(self) -> bool:
        return self.kind.startswith("Stream")

    @property
    def streams_responses(self) -> bool:
        return self.kind.endswith("Stream")

    def multicallable(self, channel: Any, method: str, **serializers: Any) -> Any:
        factory = {
            "UnaryUnary": channel.unary_unary,
            "UnaryStream": channel.unary_stream,
            "StreamUnary": channel.stream_unary,
            "StreamStream": channel.stream_stream,
        }[self.kind]
        return factory(method, **serializers)


PATHS: dict[str, Path] = {
    "unary-unary": Path("UnaryUnary"),
    "unary-stream iterator": Path("UnaryStream"),
    "unary-stream read()": Path("UnaryStream", reads=True),
    "stream-unary iterator": Path("StreamUnary"),
    "stream-unary write()": Path("StreamUnary", writes=True),
    "stream-stream iterator": Path("StreamStream"),
    "stream-stream read() and write()": Path("StreamStream", reads=True, writes=True),
}


async def make(
    path: Path,
    channel: grpc.aio.Channel,
    method: str,
    requests: AsyncIterator[bytes] | Iterable[bytes],
    consumer: Consumer = None,
    **kwargs: Any,
) -> Outcome:
    """Make a call along ``path`` and see it through; ``consumer()`` is awaited after each response of a stream."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        multicallable = path.multicallable(channel, method)
        outcome.responses = await _run(path, multicallable, _iterate(requests), outcome, consumer, kwargs)
        outcome.status = grpc.StatusCode.OK
    except grpc.aio.AioRpcError as error:
        outcome.error = error
        outcome.status, outcome.details = error.code(), error.details() or ""
    except asyncio.CancelledError as error:
        outcome.error = error
        await _ask_status(outcome)
    outcome.seconds = loop.time() - started
    return outcome


async def _ask_status(outcome: Outcome) -> None:
    """Ask the call for its status, which grpc.aio may never learn of a stream that was cancelled while it began."""
    try:
        outcome.status = await asyncio.wait_for(outcome.call.code(), 1)
        outcome.details = await outcome.call.details()
    except asyncio.TimeoutError:
        pass


async def _iterate(requests: AsyncIterator[bytes] | Iterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(requests, AsyncIterator):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


async def _run(
    path: Path,
    method: Any,
    requests: AsyncIterator[bytes],
    outcome: Outcome,
    consumer: Consumer,
    kwargs: dict[str, Any],
) -> list[bytes]:
    if not path.streams_requests:
        call = method(await requests.__anext__(), **kwargs)
    elif path.writes:
        call = method(**kwargs)
    else:
        call = method(requests, **kwargs)
    outcome.call = call
    if path.writes:
        await _write(call, requests, outcome)
    if not path.streams_responses:
        return [await call]
    responses: list[bytes] = []
    async for response in _read(call) if path.reads else call:
        responses.append(response)
        if consumer is not None:
            await consumer()
    return responses


async def _write(call: Any, requests: AsyncIterator[bytes], outcome: Outcome) -> None:
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except asyncio.InvalidStateError as error:
        if isinstance(error, grpc.aio.AioRpcError):
            raise
        outcome.misled = True  # why it failed, the call itself tells when it is awaited or read


async def _read(call: Any) -> AsyncIterator[bytes]:
    while (response := await call.read()) is not grpc.aio.EOF:
        yield response
