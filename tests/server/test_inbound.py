"""The pieces of an inbound RPC: when its end is noticed, what it is called, what is cached, where the scope is current."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.interceptors.handlers import MAX_CACHED, OWN_SERVICE, HandlerCache
from grpc_heartbeat.interceptors.inbound import EXPIRY_TOLERANCE, InboundScope, SyncScope, rpc_ended
from grpc_heartbeat.interceptors.responses import ScopedResponses
from grpc_heartbeat.interceptors.server_state import ServerState
from tests.chain.hops import start, stubs
from tests.channel.servers import HOLD, Server
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer


class Context:
    """A servicer context that is over or not, and tells those who asked."""

    def __init__(self, over: bool = False) -> None:
        self._over = over
        self.callbacks: list[Callable[[], None]] = []

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self._over:
            return False
        self.callbacks.append(callback)
        return True


class Call:
    told = 0

    def scope_cancelled(self, scope: Scope) -> None:
        self.told += 1


def watched(context: Context, left: float | None = None, server: ServerState | None = None) -> SyncScope:
    method = (server or ServerState()).method("/a/b")
    scope = SyncScope()
    InboundScope.__init__(scope, None if left is None else monotonic() + left, method)
    scope.context = context
    scope.finished = False
    return scope


def test_the_context_is_asked_only_when_something_depends_on_it_and_only_once() -> None:
    context = Context()
    scope = watched(context)
    assert context.callbacks == []
    calls = [Call(), Call()]
    for call in calls:
        scope.adopt(call)
    assert len(context.callbacks) == 1
    context.callbacks[0]()
    assert [call.told for call in calls] == [1, 1]


def test_an_rpc_that_is_over_already_ends_what_is_started_for_it() -> None:
    scope = watched(Context(over=True))
    call = Call()
    scope.adopt(call)
    assert call.told == 1
    assert scope.reason is Reason.CLIENT_CANCELLED


def test_asking_for_the_reason_is_enough_to_notice_the_end() -> None:
    token = current_scope.set(watched(Context(over=True)))
    assert deadline.reason() == "client_cancelled"
    current_scope.reset(token)


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (None, Reason.CLIENT_CANCELLED),
        (10.0, Reason.CLIENT_CANCELLED),
        (EXPIRY_TOLERANCE / 2, Reason.EXPIRED),
        (-1.0, Reason.EXPIRED),
    ],
)
def test_a_reset_at_the_deadline_is_called_expiry(left: float | None, reason: Reason) -> None:
    scope = watched(Context(), left)
    rpc_ended(scope)
    assert scope.reason is reason


def test_the_end_of_a_finished_rpc_cancels_nothing() -> None:
    scope = watched(Context())
    scope.finish()
    rpc_ended(scope)
    assert scope.reason is None


def test_a_handler_is_wrapped_once_for_as_long_as_it_is_the_same() -> None:
    made: list[str] = []

    def wrap(method: str, handler: Any) -> object:
        made.append(method)
        return object()

    cache = HandlerCache(wrap)
    handler, other = object(), object()
    first = cache.get("/a/b", handler)
    assert cache.get("/a/b", handler) is first
    assert made == ["/a/b"]
    assert cache.get("/a/b", other) is not first
    assert made == ["/a/b", "/a/b"]


def test_methods_that_strangers_make_up_do_not_fill_the_memory() -> None:
    cache = HandlerCache(lambda method, handler: method)
    for number in range(3 * MAX_CACHED):
        cache.get(f"/a/{number}", object())
    assert len(cache.entries) == MAX_CACHED


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_heartbeats_are_left_as_they_are(kind: str) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    details: Any = type("Details", (), {"method": f"{OWN_SERVICE}Ping", "invocation_metadata": ()})
    if kind == "sync":
        (sync,) = grpc_heartbeat.server_interceptors()
        assert sync.intercept_service(lambda details: handler, details) is handler
    else:
        (aio,) = grpc_heartbeat.aio.server_interceptors()

        async def continuation(details: Any) -> Any:
            return handler

        assert await aio.intercept_service(continuation, details) is handler


def test_the_scope_is_current_during_a_step_of_a_stream_and_not_between() -> None:
    scope = watched(Context())
    seen: list[Scope | None] = []

    def generate() -> Iterator[int]:
        for number in range(2):
            seen.append(current_scope.get())
            yield number

    responses = ScopedResponses(generate(), scope)
    for _ in range(2):
        next(responses)
        assert current_scope.get() is None
    with pytest.raises(StopIteration):
        next(responses)
    assert seen == [scope, scope]
    assert current_scope.get() is None
    assert scope.finished


def test_a_sync_handler_that_makes_no_calls_can_notice_that_it_is_not_wanted_any_more() -> None:
    started, reasons = threading.Event(), list[str]()

    def work(request: bytes, context: Any) -> bytes:
        started.set()
        give_up = monotonic() + PATIENCE
        while (reason := deadline.reason()) is None and monotonic() < give_up:
            threading.Event().wait(0.001)
        reasons.append(reason or "never noticed")
        return b""

    server = SyncServer({"UnaryUnary": work}, grpc_heartbeat.server_interceptors())
    with grpc.insecure_channel(server.target) as channel:
        call = start(channel, "UnaryUnary", b"")
        assert started.wait(PATIENCE)
        call.cancel()
    server.close()
    assert reasons == ["client_cancelled"]


def test_a_suspended_generator_of_an_aio_server_loses_its_calls_with_its_rpc() -> None:
    leaf, loop = Server(), LoopThread()
    calls: list[Any] = []

    async def make() -> grpc.aio.Channel:
        return grpc_heartbeat.aio.insecure_channel(leaf.target)

    channel = loop.run(make())
    one = stubs(channel)[0]

    async def generate(request: bytes, context: Any) -> AsyncIterator[bytes]:
        calls.append(one(HOLD))
        yield b"first"
        await asyncio.Event().wait()

    server = AioServer(loop, {"UnaryStream": generate}, grpc_heartbeat.aio.server_interceptors())
    with grpc.insecure_channel(server.target) as bare:
        call = stubs(bare)[1](b"")
        assert next(call) == b"first"
        assert leaf.started.wait(PATIENCE)
        call.cancel()
        assert leaf.ended.wait(PATIENCE)
    server.close()
    loop.run(channel.close())
    loop.close()
    leaf.close()
