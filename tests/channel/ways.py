"""Every way to make a call on the sync stack, run to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.peers import PATIENCE, path

SINGLE_THREADED = [("SingleThreadedUnaryStream", 1)]


def _call(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.unary_unary(path("UnaryUnary"))(next(iter(requests)), **kwargs)


def _with_call(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.unary_unary(path("UnaryUnary")).with_call(next(iter(requests)), **kwargs)[0]


def _future(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.unary_unary(path("UnaryUnary")).future(next(iter(requests)), **kwargs).result(PATIENCE)


def _unary_stream(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return list(channel.unary_stream(path("UnaryStream"))(next(iter(requests)), **kwargs))


def _collect(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.stream_unary(path("StreamUnary"))(iter(requests), **kwargs)


def _collect_with_call(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.stream_unary(path("StreamUnary")).with_call(iter(requests), **kwargs)[0]


def _collect_future(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return channel.stream_unary(path("StreamUnary")).future(iter(requests), **kwargs).result(PATIENCE)


def _stream_stream(channel: Any, requests: Iterable[bytes], **kwargs: Any) -> Any:
    return list(channel.stream_stream(path("StreamStream"))(iter(requests), **kwargs))


Way = Callable[..., Any]
WAYS: dict[str, Way] = {
    "call": _call,
    "with_call": _with_call,
    "future": _future,
    "unary_stream": _unary_stream,
    "unary_stream single-threaded": _unary_stream,
    "stream_unary": _collect,
    "stream_unary with_call": _collect_with_call,
    "stream_unary future": _collect_future,
    "stream_stream": _stream_stream,
}
READING = ("unary_stream", "unary_stream single-threaded", "stream_stream")
"""Those with response messages to wait for."""
WRITING = ("stream_unary", "stream_unary with_call", "stream_unary future", "stream_stream")
"""Those with request messages to get rid of."""


def options(way: str) -> list[tuple[str, Any]] | None:
    """Return the channel options that ``way`` needs."""
    return SINGLE_THREADED if way.endswith("single-threaded") else None


def endless(message: bytes) -> Iterator[bytes]:
    """Yield ``message`` for as long as somebody takes it."""
    while True:
        yield message
