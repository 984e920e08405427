"""Calls of the sync stack that are done, cancelled, expired or abandoned leave nothing behind, however many there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import pytest

import grpc_heartbeat
from grpc_heartbeat import Timeouts, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from tests.conformance.peers import Server
from tests.peers import wait_until
from tests.soak.flat import check_flat, held, objects_left
from tests.soak.scale import scaled

CALLS = scaled(100_000, 3_600)
TIMEOUTS = Timeouts(connect=0.5, header=0.5, idle=0.5, write=0.5)


class Client:
    """Makes calls that end in each of the ways."""

    def __init__(self, channel: Any) -> None:
        self.quick = channel.unary_unary("/any.Quick/UnaryUnary")
        self.hold = channel.unary_unary("/any.Hold/UnaryUnary")
        self.stall = channel.unary_stream("/any.Stall/UnaryStream")
        self.chat = channel.stream_stream("/any.Quick/StreamStream")

    def run(self, calls: int) -> None:
        ways = (self.done, self.streamed, self.cancelled, self.scope_cancelled, self.expired, self.abandoned)
        for number in range(calls):
            ways[number % len(ways)]()

    def done(self) -> None:
        with deadline.limit(5):
            assert self.quick(b"x") == b"1"

    def streamed(self) -> None:
        assert list(self.chat(iter([b"x", b"y"]))) == [b"2"] * 4

    def cancelled(self) -> None:
        call = self.hold.future(b"x")
        call.cancel()
        assert call.cancelled()

    def scope_cancelled(self) -> None:
        scope = Scope(None, "inherited:/front.End/Buy", "/front.End/Buy")
        token = current_scope.set(scope)
        call = self.stall(b"x")
        current_scope.reset(token)
        assert next(call) == b"first"
        scope.cancel(Reason.CLIENT_CANCELLED)
        with pytest.raises(grpc.RpcError):
            next(call)

    def expired(self) -> None:
        with pytest.raises(grpc.RpcError):
            self.hold(b"x", timeout=0.002)

    def abandoned(self) -> None:
        call = self.stall(b"x")
        assert next(call) == b"first"
        del call


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_calls_leave_nothing_behind(server: Server) -> None:
    with grpc_heartbeat.insecure_channel(server.target, timeouts=TIMEOUTS) as channel:
        client = Client(channel)
        client.run(CALLS // 2)  # until then caches and the allocator's pools fill
        threading.Event().wait(TIMEOUTS.header)  # what the timer queue still holds goes with its time
        first, started = held(), monotonic()
        client.run(CALLS // 2)
        seconds = monotonic() - started
        wait_until(lambda: not objects_left(first))
        check_flat(first, CALLS // 2, seconds)
