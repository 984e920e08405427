"""What an inbound RPC that ends in an unusual way leaves behind: nothing, and without a garbage collection."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import pytest

from grpc_heartbeat import _in_flight
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.peers import path, wait_until
from tests.server.conftest import Serve


def test_a_stream_that_its_client_has_left_goes_away_and_work_of_it_knows(serve: Serve) -> None:
    """The responses are dropped by grpcio between two steps: the handler is not told, and there is no end to its function."""
    contexts: list[weakref.ref[Any]] = []
    scopes: list[Scope | None] = []

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        contexts.append(weakref.ref(context))
        scopes.append(current_scope.get())
        del context
        while True:
            yield request

    server = serve("sync", {"UnaryStream": stream})
    gc.collect()
    gc.disable()
    try:
        with grpc.insecure_channel(server.target) as channel:
            method: Any = channel.unary_stream(path("UnaryStream"))
            call = method(b"hello")
            next(call)
            call.cancel()
            wait_until(lambda: contexts[0]() is None)
    finally:
        gc.enable()
    assert scopes[0] is not None
    assert scopes[0].why(monotonic()) is Reason.CLIENT_CANCELLED


def _raises(request: bytes, context: Any) -> Any:
    raise ValueError("before there is a first response")


async def _takes_too_little(request: bytes) -> Any:
    yield request


@pytest.mark.parametrize(
    ("stack", "behavior"),
    [("sync", _raises), ("plain", _raises), ("aio", _takes_too_little)],
    ids=["sync", "plain", "aio"],
)
def test_a_stream_that_cannot_be_begun_is_not_in_flight(serve: Serve, stack: str, behavior: Any) -> None:
    server = serve(stack, {"UnaryStream": behavior})
    before = _in_flight.in_flight()
    with grpc.insecure_channel(server.target) as channel:
        method: Any = channel.unary_stream(path("UnaryStream"))
        assert method(b"hello").code() is grpc.StatusCode.UNKNOWN
    wait_until(lambda: _in_flight.in_flight() == before)
