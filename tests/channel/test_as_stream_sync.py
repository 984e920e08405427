"""A unary future that is a stream underneath behaves as a unary future."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from grpc_heartbeat.channel.as_stream import OneResponse
from tests.channel.servers import FAIL, HOLD, Server
from tests.peers import PATIENCE, path, wait_until


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as opened:
        yield opened


def begin(channel: grpc.Channel, request: bytes) -> Any:
    method: Any = channel.unary_stream(path("UnaryUnary"))
    return OneResponse(method(request))


def test_a_response(channel: grpc.Channel) -> None:
    call = begin(channel, b"hello")
    assert call.result(PATIENCE) == b"hello"
    assert call.result() == b"hello"
    assert call.exception() is None
    assert call.traceback() is None
    assert call.done()
    assert not call.running()
    assert not call.is_active()
    assert not call.cancelled()
    assert call.code() is grpc.StatusCode.OK


def test_an_error(channel: grpc.Channel) -> None:
    call = begin(channel, FAIL)
    with pytest.raises(grpc.RpcError) as caught:
        call.result(PATIENCE)
    error: Any = caught.value
    assert error is call
    assert call.exception() is call
    assert call.traceback() is not None
    assert call.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_cancel(server: Server, channel: grpc.Channel) -> None:
    call = begin(channel, HOLD)
    assert not call.done()
    with pytest.raises(grpc.FutureTimeoutError):
        call.result(0.01)
    with pytest.raises(grpc.FutureTimeoutError):
        call.exception(0.01)
    assert server.started.wait(PATIENCE)
    assert call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(PATIENCE)
    assert call.done()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert server.ended.wait(PATIENCE)


def test_callbacks_come_when_the_response_can_be_had(channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    plain = threading.Event()
    call = begin(channel, b"hello")

    def fail() -> None:
        raise RuntimeError("on purpose")

    added = call.add_callback(fail)
    call.add_done_callback(lambda done: told.append((done is call, done.result(0))))
    if not call.add_callback(plain.set):
        plain.set()
    wait_until(lambda: told and plain.is_set())
    assert told == [(True, b"hello")]
    wait_until(lambda: not added or "a callback of a call failed" in caplog.text)
    call.add_done_callback(told.append)
    assert told[1:] == [call]
    assert not call.add_callback(plain.set)
