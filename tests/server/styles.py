"""Every way of writing a handler, for both stacks. Each says what its request asks for, so that one client tries them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

TRAILING = (("reason", "one"), ("reason", "two"), ("data-bin", b"\x00\xff"))


def answer(request: bytes, context: Any) -> bytes:
    context.send_initial_metadata((("seen", "yes"),))
    context.set_trailing_metadata(TRAILING)
    return request


def fail(request: bytes, context: Any) -> bytes:
    raise ValueError("no such thing")


def set_code(request: bytes, context: Any) -> bytes:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("nothing here")
    return b""


def abort(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
    return b"unreachable"


def return_none(request: bytes, context: Any) -> None:
    return None


class CallableObject:
    def __call__(self, request: bytes, context: Any) -> bytes:
        return request


def generate(request: bytes, context: Any) -> Iterator[bytes]:
    context.set_trailing_metadata(TRAILING)
    yield request
    yield request + b"!"


def return_iterator(request: bytes, context: Any) -> Iterator[bytes]:
    return iter([request, b"2"])


def return_list(request: bytes, context: Any) -> list[bytes]:
    return [request]


def fail_first(request: bytes, context: Any) -> Iterator[bytes]:
    raise ValueError("before any response")


def fail_later(request: bytes, context: Any) -> Iterator[bytes]:
    yield request
    raise ValueError("after one response")


def abort_later(request: bytes, context: Any) -> Iterator[bytes]:
    yield request
    context.abort(grpc.StatusCode.DATA_LOSS, "lost")


def nothing(request: bytes, context: Any) -> Iterator[bytes]:
    return iter(())


def non_blocking(request: bytes, context: Any, send_response: Any) -> None:
    send_response(request)
    send_response(b"later")
    send_response(None)


non_blocking.experimental_non_blocking = True  # type: ignore[attr-defined]  # how grpcio marks them


def collect(requests: Iterator[bytes], context: Any) -> bytes:
    return b",".join(requests)


def chat(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from requests


SYNC_STYLES: dict[str, list[Any]] = {
    "UnaryUnary": [answer, fail, set_code, abort, return_none, CallableObject()],
    "UnaryStream": [
        generate,
        return_iterator,
        return_list,
        return_none,
        fail_first,
        fail_later,
        abort_later,
        nothing,
        non_blocking,
    ],
    "StreamUnary": [collect, fail, abort],
    "StreamStream": [chat, fail_first],
}


async def aio_answer(request: bytes, context: Any) -> bytes:
    await context.send_initial_metadata((("seen", "yes"),))
    context.set_trailing_metadata(TRAILING)
    return request


async def aio_fail(request: Any, context: Any) -> bytes:
    raise ValueError("no such thing")


async def aio_abort(request: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you", TRAILING)


async def aio_set_code(request: Any, context: Any) -> bytes:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    context.set_details("nothing here")
    return b""


async def aio_generate(request: bytes, context: Any) -> AsyncIterator[bytes]:
    context.set_trailing_metadata(TRAILING)
    yield request
    yield request + b"!"


async def aio_fail_later(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    raise ValueError("after one response")


async def aio_abort_later(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    await context.abort(grpc.StatusCode.DATA_LOSS, "lost")


async def aio_write(request: bytes, context: Any) -> None:
    await context.write(request)
    await context.write(b"written")


async def aio_collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b",".join([request async for request in requests])


async def aio_read(requests: Any, context: Any) -> bytes:
    parts = []
    while (request := await context.read()) is not grpc.aio.EOF:
        parts.append(request)
    return b"+".join(parts)


async def aio_chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def aio_read_write(requests: Any, context: Any) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)


AIO_STYLES: dict[str, list[Any]] = {
    "UnaryUnary": [aio_answer, aio_fail, aio_abort, aio_set_code, answer, fail, set_code, abort, CallableObject()],
    "UnaryStream": [
        aio_generate,
        aio_fail_later,
        aio_abort_later,
        aio_write,
        aio_abort,
        generate,
        return_iterator,
        return_list,
        fail_later,
    ],
    "StreamUnary": [aio_collect, aio_read, aio_fail, collect, fail],
    "StreamStream": [aio_chat, aio_read_write, aio_abort, chat],
}


def cases(styles: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return (kind, behavior) pairs."""
    return [(kind, behavior) for kind, behaviors in styles.items() for behavior in behaviors]


def name(value: Any) -> str:
    """Return a test id."""
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
