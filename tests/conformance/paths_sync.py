"""The call paths of the sync stack: every way in which grpcio lets a program make a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, NamedTuple

import grpc
from grpc.experimental import ChannelOptions

from tests.conformance.outcome import Outcome
from tests.peers import PATIENCE

SINGLE_THREADED = [(ChannelOptions.SingleThreadedUnaryStream, 1)]


class Path(NamedTuple):
    """One way of making a call.

    Attributes:
        kind: The RPC kind.
        form: ``call``, ``with_call``, ``future`` or ``stream``.
        options: Channel options without which it is not taken.
    """

    kind: str
    form: str
    options: tuple[tuple[str, Any], ...] = ()

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
    "unary-unary __call__": Path("UnaryUnary", "call"),
    "unary-unary with_call": Path("UnaryUnary", "with_call"),
    "unary-unary future": Path("UnaryUnary", "future"),
    "unary-stream": Path("UnaryStream", "stream"),
    "unary-stream single-threaded": Path("UnaryStream", "stream", tuple(SINGLE_THREADED)),
    "stream-unary __call__": Path("StreamUnary", "call"),
    "stream-unary with_call": Path("StreamUnary", "with_call"),
    "stream-unary future": Path("StreamUnary", "future"),
    "stream-stream": Path("StreamStream", "stream"),
}


def make(
    path: Path, channel: grpc.Channel, method: str, requests: Iterable[bytes], consumer: Any = None, **kwargs: Any
) -> Outcome:
    """Make a call along ``path`` and see it through; ``consumer()`` is called after each response of a stream."""
    outcome = Outcome()
    started = monotonic()
    try:
        outcome.responses = _run(path, path.multicallable(channel, method), requests, outcome, consumer, kwargs)
        outcome.status = grpc.StatusCode.OK
    except grpc.RpcError as error:
        outcome.error = error
        outcome.status, outcome.details = error.code(), error.details() or ""
    except grpc.FutureCancelledError as error:
        outcome.error = error
        outcome.status, outcome.details = outcome.call.code(), outcome.call.details()
    outcome.seconds = monotonic() - started
    return outcome


def _run(
    path: Path, method: Any, requests: Iterable[bytes], outcome: Outcome, consumer: Any, kwargs: dict[str, Any]
) -> list[bytes]:
    sent: Iterator[bytes] | bytes = iter(requests) if path.streams_requests else next(iter(requests))
    if path.form == "call":
        return [method(sent, **kwargs)]
    if path.form == "with_call":
        response, outcome.call = method.with_call(sent, **kwargs)
        return [response]
    if path.form == "future":
        outcome.call = method.future(sent, **kwargs)
        return [outcome.call.result(PATIENCE)]
    outcome.call = method(sent, **kwargs)
    responses: list[bytes] = []
    for response in outcome.call:
        responses.append(response)
        if consumer is not None:
            consumer()
    return responses
