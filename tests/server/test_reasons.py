"""Handlers can ask why their work is not wanted any more, in every style; and a server that shuts down tells them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import deadline
from grpc_heartbeat.core.scope import Reason
from grpc_heartbeat.interceptors.accepting_aio import EarlyAccept
from grpc_heartbeat.interceptors.inbound import InboundScope, handler_over
from grpc_heartbeat.interceptors.plain_aio import PlainRpc
from grpc_heartbeat.interceptors.server_state import ServerState
from tests.chain.hops import responses, start
from tests.channel.servers import HOLD, Server
from tests.peers import PATIENCE, LoopThread, path, wait_until
from tests.server.conftest import Serve

before_cancelling = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="a task does not say that it is being cancelled"
)


class Asked:
    """Handlers that wait until their client has gone, and then say why that was."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.reasons: list[str | None] = []

    async def coroutine(self, request: bytes, context: Any) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.reasons.append(deadline.reason())
            raise
        return b""

    async def in_a_block(self, request: bytes, context: Any) -> bytes:
        with deadline.limit(50):
            return await self.coroutine(request, context)

    async def in_a_task(self, request: bytes, context: Any) -> bytes:
        return await asyncio.ensure_future(self.coroutine(request, context))

    async def generator(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await self.coroutine(request, context)

    async def writer(self, request: bytes, context: Any) -> None:
        await context.write(await self.coroutine(request, context))

    def function(self, request: bytes, context: Any) -> bytes:
        self.entered.set()
        wait_until(lambda: deadline.reason() is not None)
        self.reasons.append(deadline.reason())
        return b""

    def stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.function(request, context)
        yield from ()  # grpc.aio waits for ever with a response that nobody takes, in a thread


CASES = [
    ("aio", "UnaryUnary", "coroutine"),
    ("aio", "UnaryUnary", "in_a_block"),
    ("aio", "UnaryUnary", "in_a_task"),
    ("aio", "UnaryStream", "generator"),
    ("aio", "UnaryStream", "writer"),
    ("plain", "UnaryUnary", "function"),
    ("plain", "UnaryStream", "stream"),
    ("sync", "UnaryUnary", "function"),
    ("sync", "UnaryStream", "stream"),
]
each_style = pytest.mark.parametrize(("stack", "kind", "style"), CASES)


@before_cancelling
@each_style
def test_a_cancel_by_the_client(serve: Serve, stack: str, kind: str, style: str) -> None:
    asked = Asked()
    server = serve(stack, {kind: getattr(asked, style)})
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, kind, b"", timeout=PATIENCE)
        assert asked.entered.wait(PATIENCE)
        call.cancel()
        wait_until(lambda: asked.reasons)
    assert asked.reasons == ["client_cancelled"]


@each_style
def test_a_deadline_that_passes(serve: Serve, stack: str, kind: str, style: str) -> None:
    asked = Asked()
    server = serve(stack, {kind: getattr(asked, style)})
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, kind, b"", timeout=0.4)
        wait_until(lambda: asked.reasons)
        call.cancel()
    assert asked.reasons == ["expired"]


def test_a_time_out_of_the_handlers_own_is_forgotten_when_its_block_is_left(serve: Serve) -> None:
    reasons: list[str | None] = []

    async def handler(request: bytes, context: Any) -> bytes:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except asyncio.TimeoutError:
            reasons.append(deadline.reason())
        reasons.append(deadline.reason())
        return b"went on"

    with grpc.insecure_channel(serve("aio", {"UnaryUnary": handler}).target) as channel:
        assert start(channel, "UnaryUnary", b"").result(PATIENCE) == b"went on"
    assert reasons == [None, None]


class Draining:
    """Handlers that say what they are told while they run, each time that they are asked."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.reasons: list[str | None] = []

    def function(self, request: bytes, context: Any) -> bytes:
        self.reasons.append(deadline.reason())
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        self.reasons.append(deadline.reason())
        with deadline.limit(5):
            self.reasons.append(deadline.reason())
        return b"done"

    async def coroutine(self, request: bytes, context: Any) -> bytes:
        self.reasons.append(deadline.reason())
        self.entered.set()
        await asyncio.to_thread(self.go_on.wait, PATIENCE)
        self.reasons.append(deadline.reason())
        with deadline.limit(5):
            self.reasons.append(deadline.reason())
        return b"done"


def test_handlers_are_told_that_their_server_is_shutting_down_and_may_go_on(serve: Serve, stack: str) -> None:
    handlers = Draining()
    server = serve(stack, {"UnaryUnary": handlers.coroutine if stack == "aio" else handlers.function})
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", b"")
        assert handlers.entered.wait(PATIENCE)
        server.interceptor.drain()
        handlers.go_on.set()
        assert call.result(PATIENCE) == b"done"
        assert handlers.reasons == [None, "draining", "draining"]
        assert start(channel, "UnaryUnary", b"").result(PATIENCE) == b"done"
    assert handlers.reasons[3:] == ["draining"] * 3


Calling = Callable[[bytes], Any]


@pytest.fixture
def leaf() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def calling(leaf: Server, loop: LoopThread) -> Iterator[Callable[[str], Any]]:
    """Return a stack's multicallable to a server that holds the call until it has ended."""
    channels: list[Any] = []

    async def make() -> Any:
        return grpc_heartbeat.aio.insecure_channel(leaf.target)

    def open_channel(stack: str) -> Any:
        channels.append(loop.run(make()) if stack == "aio" else grpc_heartbeat.insecure_channel(leaf.target))
        return channels[-1].unary_unary(path("UnaryUnary"))

    yield open_channel
    for channel in channels:
        closed = channel.close()
        if asyncio.iscoroutine(closed):
            loop.run(closed)


def test_draining_can_end_the_calls_of_handlers(
    serve: Serve, stack: str, leaf: Server, calling: Callable[[str], Any]
) -> None:
    one = calling(stack)
    reasons: list[str | None] = []

    def function(request: bytes, context: Any) -> bytes:
        try:
            one(HOLD)
        except (grpc.RpcError, grpc.FutureCancelledError):
            reasons.append(deadline.reason())
        return b"done"

    async def coroutine(request: bytes, context: Any) -> bytes:
        try:
            await one(HOLD)
        except (grpc.RpcError, asyncio.CancelledError):
            reasons.append(deadline.reason())
        return b"done"

    server = serve(stack, {"UnaryUnary": coroutine if stack == "aio" else function})
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", b"")
        assert leaf.started.wait(PATIENCE)
        server.interceptor.drain(cancel=True)
        assert call.result(PATIENCE) == b"done"
        assert leaf.ended.wait(PATIENCE)
        assert reasons == ["draining"]
        # RPCs that come while the server drains do not hold it up either.
        assert start(channel, "UnaryUnary", b"").result(PATIENCE) == b"done"
    assert reasons == ["draining"] * 2


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
def test_a_server_keeps_no_track_of_rpcs_that_have_ended(
    serve: Serve, stack: str, kind: str, leaf: Server, calling: Callable[[str], Any]
) -> None:
    one = calling(stack)
    closing = threading.Event()

    def function(request: bytes, context: Any) -> bytes:
        response: bytes = one(request)
        return response

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield function(request, context)

    async def coroutine(request: bytes, context: Any) -> bytes:
        response: bytes = await one(request)
        return response

    async def generator(request: bytes, context: Any) -> AsyncIterator[bytes]:
        if request != HOLD:
            yield await coroutine(b"", context)
            return
        held = one(HOLD)
        while not closing.is_set():  # suspended at a response that nobody takes when its client goes
            yield bytes(100_000)
        held.cancel()

    handlers = (coroutine, generator) if stack == "aio" else (function, stream)
    server = serve(stack, {kind: handlers[kind == "UnaryStream"]})
    with grpc.insecure_channel(server.target) as channel:
        for _ in range(20):
            responses(start(channel, kind, b""), kind)
        leaf.started.clear()
        call = start(channel, kind, HOLD)
        assert leaf.started.wait(PATIENCE)
        wait_until(lambda: server.interceptor._state.live)
        call.cancel()
        assert leaf.ended.wait(PATIENCE)
        wait_until(lambda: not server.interceptor._state.live)
        closing.set()


class PlainContext:
    def time_remaining(self) -> None:
        return None


async def test_an_rpc_that_ended_in_the_queue_of_the_pool_is_known_to_have_ended() -> None:
    rpc = PlainRpc(ServerState().method("/a/b"), None, (), monotonic())
    rpc.reached(None)
    scope = rpc.begin(PlainContext())
    assert isinstance(scope, InboundScope)
    assert scope.reason is Reason.CLIENT_CANCELLED
    handler_over(scope)


async def test_an_rpc_that_ends_while_its_function_runs_is_not_accepted_any_more() -> None:
    rpc = PlainRpc(ServerState().method("/a/b"), EarlyAccept(0.01), (), monotonic())
    scope = rpc.begin(PlainContext())
    assert isinstance(scope, InboundScope)
    standing = rpc.accepting
    assert standing is not None
    assert standing.pending
    rpc.reached(None)
    assert scope.reason is Reason.CLIENT_CANCELLED
    assert not standing.pending
    handler_over(scope)
