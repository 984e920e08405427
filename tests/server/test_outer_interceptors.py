"""Interceptors of others that stand before ours on a server, and call the handler as they like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_heartbeat
from grpc_heartbeat import _faults, deadline
from grpc_heartbeat._current import current_scope
from grpc_heartbeat.core.deadline import BUDGET_KEY
from grpc_heartbeat.core.scope import Scope
from tests.chain.hops import start
from tests.peers import PATIENCE, AioServer, LoopThread, SyncServer

Call = Callable[[Any, Any, Any], Awaitable[Any]]


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


async def twice(behavior: Any, request: Any, context: Any) -> Any:
    await behavior(request, context)
    return await behavior(request, context)


async def elsewhere(behavior: Any, request: Any, context: Any) -> Any:
    """Call the handler where nothing of what our interceptor has set is current."""
    return await Context().run(asyncio.ensure_future, behavior(request, context))


class Outer(grpc.aio.ServerInterceptor):
    def __init__(self, call: Call) -> None:
        self._call = call
        self.inherits: list[Any] = []

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        scope = current_scope.get()
        self.inherits.append(scope is not None and not scope.finished)

        async def behave(request: Any, context: Any) -> Any:
            return await self._call(handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(behave)


@pytest.mark.parametrize("stack", ["sync", "aio"])
def test_two_of_ours_on_one_server_see_the_same_budget(loop: LoopThread, stack: str) -> None:
    seen: list[Any] = []

    def note(request: bytes, context: Any) -> bytes:
        seen.append(current_scope.get())
        return request

    async def note_aio(request: bytes, context: Any) -> bytes:
        return note(request, context)

    server: Any
    if stack == "sync":
        both = [*grpc_heartbeat.server_interceptors(), *grpc_heartbeat.server_interceptors()]
        server = SyncServer({"UnaryUnary": note}, both)
    else:
        both_aio = [*grpc_heartbeat.aio.server_interceptors(), *grpc_heartbeat.aio.server_interceptors()]
        server = AioServer(loop, {"UnaryUnary": note_aio}, both_aio)
    with grpc.insecure_channel(server.target) as channel:
        started = monotonic()
        call = start(channel, "UnaryUnary", b"x", timeout=PATIENCE, metadata=((BUDGET_KEY, "2000000"),))
        assert call.result() == b"x"
        ended = monotonic()
    server.close()
    (scope,) = seen
    assert started + 2 <= scope.deadline <= ended + 2


@pytest.mark.parametrize("call", [twice, elsewhere])
def test_each_time_the_handler_has_a_scope_of_its_own(loop: LoopThread, call: Call) -> None:
    seen: list[Any] = []
    left: list[float | None] = []

    async def behavior(request: bytes, context: Any) -> bytes:
        seen.append(current_scope.get())
        left.append(deadline.remaining())
        return request

    outer = Outer(call)
    server = AioServer(loop, {"UnaryUnary": behavior}, [outer, *grpc_heartbeat.aio.server_interceptors()])
    with grpc.insecure_channel(server.target) as channel:
        assert (
            start(channel, "UnaryUnary", b"x", timeout=PATIENCE, metadata=((BUDGET_KEY, "2000000"),)).result() == b"x"
        )
    server.close()
    assert outer.inherits == [False]
    check(seen, left, 2 if call is twice else 1)


def check(seen: list[Any], left: list[float | None], runs: int) -> None:
    assert len({id(scope) for scope in seen}) == len(seen) == runs
    assert all(scope.finished for scope in seen)
    assert len({scope.deadline for scope in seen}) == 1, (
        "the budget counts from the RPC's arrival, whenever the handler runs"
    )
    for seconds in left:
        assert seconds is not None
        assert 0 < seconds <= 2


class SyncOuter(grpc.ServerInterceptor):
    def __init__(self, runs: int) -> None:
        self._runs = runs
        self.inherits: list[bool] = []
        self.left_behind: list[Any] = []

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        scope = current_scope.get()
        self.inherits.append(scope is not None and not scope.finished)

        def behave(request: Any, context: Any) -> Any:
            if self._runs > 1:
                for _ in range(self._runs - 1):
                    handler.unary_unary(request, context)
                return handler.unary_unary(request, context)
            elsewhere = Context()
            response = elsewhere.run(handler.unary_unary, request, context)
            self.left_behind.append(elsewhere.get(current_scope))
            return response

        return grpc.unary_unary_rpc_method_handler(behave)


@pytest.mark.parametrize("runs", [2, 1], ids=["twice", "elsewhere"])
def test_each_time_a_sync_handler_has_a_scope_of_its_own(runs: int) -> None:
    seen: list[Any] = []
    left: list[float | None] = []

    def behavior(request: bytes, context: Any) -> bytes:
        seen.append(current_scope.get())
        left.append(deadline.remaining())
        return request

    outer = SyncOuter(runs)
    server = SyncServer({"UnaryUnary": behavior}, [outer, *grpc_heartbeat.server_interceptors()])
    with grpc.insecure_channel(server.target) as channel:
        assert (
            start(channel, "UnaryUnary", b"x", timeout=PATIENCE, metadata=((BUDGET_KEY, "2000000"),)).result() == b"x"
        )
    server.close()
    assert outer.inherits == [False]
    assert outer.left_behind == ([None] if runs == 1 else [])
    check(seen, left, runs)


class Details:
    method = "/a/b"
    invocation_metadata = ()


class ServicerContext:
    def add_callback(self, callback: Any) -> bool:
        return True

    def time_remaining(self) -> float:
        return PATIENCE

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


class Unknowing(ServicerContext):
    def time_remaining(self) -> float:
        raise RuntimeError("nobody knows")


@pytest.mark.parametrize("style", ["one response", "stream", "non-blocking"])
def test_a_sync_handler_of_any_style_has_a_scope_of_its_own_elsewhere(style: str) -> None:
    seen: list[Scope | None] = []

    def behavior(request: Any, context: Any, send_response: Any = None) -> Any:
        seen.append(current_scope.get())
        return iter((request,))

    if style == "non-blocking":
        behavior.experimental_non_blocking = True  # type: ignore[attr-defined]
    make: Any = grpc.unary_stream_rpc_method_handler if style == "stream" else grpc.unary_unary_rpc_method_handler
    handler = make(behavior)
    (interceptor,) = grpc_heartbeat.server_interceptors(accept_after=None)
    wrapped: Any = Context().run(interceptor.intercept_service, lambda _: handler, Details())
    elsewhere = Context()
    arguments = (b"x", ServicerContext(), *([print] if style == "non-blocking" else []))
    elsewhere.run(wrapped.unary_stream or wrapped.unary_unary, *arguments)
    assert elsewhere.get(current_scope) is None
    (scope,) = seen
    assert scope is not None
    assert scope.method == "/a/b"
    assert scope.finished == (style == "one response"), "the others go on"


@pytest.mark.internal_faults
@pytest.mark.parametrize("stack", ["sync", "aio"])
async def test_a_context_that_cannot_tell_what_is_left_sets_no_limit(stack: str) -> None:
    async def behavior_aio(request: Any, context: Any) -> Any:
        return deadline.remaining()

    before = _faults.counts().get("server.deadline_of", 0)
    left: Any
    if stack == "sync":
        handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: deadline.remaining())
        (sync,) = grpc_heartbeat.server_interceptors()
        left = sync.intercept_service(lambda _: handler, Details()).unary_unary(b"x", Unknowing())
    else:
        handler = grpc.unary_unary_rpc_method_handler(behavior_aio)

        async def continuation(details: Any) -> Any:
            return handler

        (aio,) = grpc_heartbeat.aio.server_interceptors()
        left = await (await aio.intercept_service(continuation, Details())).unary_unary(b"x", Unknowing())
    assert left is None
    assert _faults.counts()["server.deadline_of"] == before + 1
