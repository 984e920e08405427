"""Blocks of a streaming handler that yields inside of them hold until they end, whatever runs its steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from grpc_heartbeat import deadline
from tests.peers import PATIENCE, path
from tests.server.conftest import Serve

LIMIT = 7.0


def _seen() -> bytes:
    left = deadline.remaining()
    if left is None:
        return b"nothing"
    return b"limit" if left <= LIMIT else b"request"


def _in_blocks(request: bytes, context: Any) -> Iterator[bytes]:
    with deadline.limit(LIMIT):
        yield _seen()
        with deadline.shield():
            yield _seen()
            yield _seen()
        yield _seen()
    yield _seen()


async def _in_blocks_aio(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for response in _in_blocks(request, context):
        yield response


def test_the_steps_of_a_stream_stay_in_the_blocks_that_they_are_in(serve: Serve, stack: str) -> None:
    server = serve(stack, {"UnaryStream": _in_blocks_aio if stack == "aio" else _in_blocks})
    with grpc.insecure_channel(server.target) as channel:
        method: Any = channel.unary_stream(path("UnaryStream"))
        assert list(method(b"", timeout=2 * PATIENCE)) == [b"limit", b"nothing", b"nothing", b"limit", b"request"]
