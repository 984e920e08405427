"""Calls that grpcio ends in its own ways, to see whether it does the same under this library.

``Server`` answers them. A ``Scenario`` says what is called and with what; it says nothing about what should come of it,
because that is what bare grpcio does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.conformance import peers
from tests.peers import PATIENCE

LARGEST = 100_000
OPTIONS = (("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST))
INITIAL = (("first", "1"), ("first", "2"), ("raw-bin", b"\x00\x01"))
TRAILING = (("last", "1"), ("last", "2"), ("status-bin", b"\x02"))


class Server(peers.Server):
    """Ends RPCs in all the ways that a handler has. It reads all requests first, lest its end race with their writing."""

    def _rich(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        context.send_initial_metadata(INITIAL)
        context.set_trailing_metadata(TRAILING)
        yield from [b",".join(requests)] * peers.MESSAGES

    def _fail(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        context.set_code(grpc.StatusCode.FAILED_PRECONDITION)
        context.set_details("not on a Sunday")
        return self._rich(requests, watched, context)

    def _abort(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        list(requests)
        context.set_trailing_metadata(TRAILING)
        context.abort(grpc.StatusCode.UNAVAILABLE, "no stock for item 504, nor for 408")
        yield b""

    def _abortlate(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        yield from self._rich(requests, watched, context)
        context.abort(grpc.StatusCode.CANCELLED, "changed my mind")

    def _raise(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        list(requests)
        yield b"never sent by a unary method"
        raise ZeroDivisionError("on purpose")

    def _one(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        list(requests)
        yield b"one"

    def _big(self, requests: Iterator[bytes], watched: peers.Watched, context: Any) -> Iterator[bytes]:
        list(requests)
        yield bytes(2 * LARGEST)


def explode(_: Any) -> Any:
    raise RuntimeError("on purpose")


def exploding_requests() -> Iterator[bytes]:
    yield b"a"
    explode(None)


@dataclass(frozen=True)
class Scenario:
    """One call to make.

    Attributes:
        behavior: What the server does with it.
        requests: Makes what is sent (the first of it, where one request is sent).
        kwargs: The call's arguments.
        serializers: Those of the multicallable.
        target: ``server``, ``refused`` (a port where nobody listens) or ``closed`` (a channel that was closed).
        cancels: Whether the application cancels the call as soon as the server has it.
        ends: Whether gRPC ends the call at all. (grpc.aio does not know that a call with bad metadata never began.)
        rewords: Whether this library may add words to the details, because a limit ended the call.
    """

    behavior: str = "Rich"
    requests: Any = field(default=lambda: iter([b"a", b"b"]))
    kwargs: dict[str, Any] = field(default_factory=dict)
    serializers: dict[str, Any] = field(default_factory=dict)
    target: str = "server"
    cancels: bool = False
    ends: bool = True
    rewords: bool = False


SCENARIOS: dict[str, Scenario] = {
    "ok": Scenario(),
    "ok, explicit time-out": Scenario(kwargs={"timeout": PATIENCE}),
    "ok, metadata": Scenario(kwargs={"metadata": (("key", "1"), ("key", "2"), ("key-bin", b"\x00"))}),
    "ok, wait for ready": Scenario(kwargs={"wait_for_ready": True}),
    "ok, compression": Scenario(kwargs={"compression": grpc.Compression.Gzip}),
    "error with metadata": Scenario("Fail"),
    "abort": Scenario("Abort"),
    "abort after messages": Scenario("Abortlate"),
    "handler raises": Scenario("Raise"),
    "unimplemented": Scenario("NoSuch"),
    "response too big": Scenario("Big"),
    "request too big": Scenario("Quick", requests=lambda: iter([bytes(2 * LARGEST)])),
    "request does not serialize": Scenario("Quick", serializers={"request_serializer": explode}),
    "response does not deserialize": Scenario("One", serializers={"response_deserializer": explode}),
    "request iterator raises": Scenario("Quick", requests=exploding_requests),
    "deadline": Scenario("Hold", kwargs={"timeout": 0.05}, rewords=True),
    "cancelled by the application": Scenario("Hold", cancels=True),
    "refused": Scenario(target="refused"),
    "refused, waits for ready": Scenario(
        target="refused", kwargs={"wait_for_ready": True, "timeout": 0.05}, rewords=True
    ),
    "credentials need security": Scenario(kwargs={"credentials": grpc.access_token_call_credentials("token")}),
    "bad metadata": Scenario(kwargs={"metadata": (("Bad Key", "value"),)}, ends=False),
    "closed channel": Scenario(target="closed"),
}
