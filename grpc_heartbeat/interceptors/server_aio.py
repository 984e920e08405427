"""The asyncio server interceptor: puts the inbound RPC's deadline and cancellation in scope for its handler.

grpc.aio tells the handler styles apart by inspecting the function, so each wrapper is of the same kind as what it wraps:
a coroutine function, an asynchronous generator function, or a plain function that the server runs in its thread pool.

How the end of an RPC is noticed differs with the kind. grpc.aio cancels the RPC's task: a coroutine sees ``CancelledError``,
a suspended generator sees nothing, so the context's done-callback is used, and a plain function runs on in its thread, so
the task itself is watched (``intercept_service`` runs in that task).

Each RPC has a task, and so a context, of its own: what coroutines and generators set there is never reset.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.interceptors.handlers import OWN_SERVICE, HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.interceptors.inbound import deadline_of, rejection, rpc_ended
from grpc_heartbeat.interceptors.responses import ScopedResponses

_invocation_metadata: ContextVar[Any] = ContextVar("grpc_heartbeat.invocation_metadata", default=None)
"""Left for the handler by ``intercept_service``, which runs in the same task: asking the context again would parse it again."""

_UNKNOWN: tuple[Any, Any] = (None, None)


class AioDeadlineServerInterceptor(grpc.aio.ServerInterceptor):
    """Opens a scope for each inbound RPC. Put it first, so that it sees the handlers of all others wrapped already."""

    def __init__(self) -> None:
        self._handlers = HandlerCache(_wrap)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        metadata = handler_call_details.invocation_metadata
        _invocation_metadata.set(metadata)
        try:
            known, wrapped = self._handlers.entries.get(handler_call_details.method, _UNKNOWN)
            if known is not handler:
                wrapped = self._handlers.get(handler_call_details.method, handler)
            return wrapped.watched(metadata) if isinstance(wrapped, _PlainHandler) else wrapped
        except Exception as error:
            _faults.record("server.wrap_aio", error)
            return handler


def _wrap(method: str, handler: Any) -> Any:
    if method.startswith(OWN_SERVICE):
        return handler
    behavior = behavior_of(handler)
    if inspect.iscoroutinefunction(behavior):
        wrapper = _coroutine(behavior, method)
    elif inspect.isasyncgenfunction(behavior):
        wrapper = _generator(behavior, method)
    else:
        return _PlainHandler(handler, method)
    return with_behavior(handler, keep_marks(behavior, wrapper))


def _coroutine(behavior: Behavior, method: str) -> Behavior:
    source = f"inherited:{method}"

    async def handle(request: Any, context: Any) -> Any:
        now = monotonic()
        deadline = deadline_of(context, _invocation_metadata.get(), now)
        if deadline is not None and deadline <= now:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, rejection(method))
        scope = Scope(deadline, source, method)
        current_scope.set(scope)
        try:
            return await behavior(request, context)
        except asyncio.CancelledError:
            rpc_ended(scope)
            raise
        finally:
            scope.finish()

    return handle


def _generator(behavior: Behavior, method: str) -> Behavior:
    source = f"inherited:{method}"

    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        now = monotonic()
        deadline = deadline_of(context, _invocation_metadata.get(), now)
        if deadline is not None and deadline <= now:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, rejection(method))
        scope = Scope(deadline, source, method)
        context.add_done_callback(lambda _: rpc_ended(scope))
        current_scope.set(scope)
        try:
            async for response in behavior(request, context):
                yield response
        except Exception:
            scope.finish()
            raise
        scope.finish()

    return handle


class _PlainHandler:
    """A handler whose behavior is a plain function. Wrapped anew for each RPC, to be joined to that RPC's task."""

    def __init__(self, handler: Any, method: str) -> None:
        self._handler = handler
        self._behavior = behavior_of(handler)
        self._method = method

    def watched(self, metadata: Any) -> Any:
        """Return a handler for the RPC whose task is the current one."""
        end = _RpcEnd(metadata)
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(end.reached)
        wrap = _plain_stream if self._handler.response_streaming else _plain_response
        behavior = wrap(self._behavior, self._method, end)
        return with_behavior(self._handler, keep_marks(self._behavior, behavior))


class _RpcEnd:
    """Joins the end of an RPC's task to a scope that a thread opens later. Whichever comes second sees the other."""

    __slots__ = ("_over", "_scope", "metadata")

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata
        self._over = False
        self._scope: Scope | None = None

    def reached(self, task: Any) -> None:
        self._over = True
        if self._scope is not None:
            rpc_ended(self._scope)

    def join(self, scope: Scope) -> None:
        self._scope = scope
        if self._over:
            rpc_ended(scope)


def _plain_response(behavior: Behavior, method: str, end: _RpcEnd) -> Behavior:
    source = f"inherited:{method}"

    def handle(request: Any, context: Any) -> Any:
        now = monotonic()
        deadline = deadline_of(context, end.metadata, now)
        if deadline is not None and deadline <= now:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, rejection(method))
        scope = Scope(deadline, source, method)
        end.join(scope)
        token = current_scope.set(scope)
        try:
            return behavior(request, context)
        finally:
            restore(token)
            scope.finish()

    return handle


def _plain_stream(behavior: Behavior, method: str, end: _RpcEnd) -> Behavior:
    source = f"inherited:{method}"

    def handle(request: Any, context: Any) -> Any:
        """Called on the loop's thread; what it returns is iterated in the pool."""
        now = monotonic()
        deadline = deadline_of(context, end.metadata, now)
        if deadline is not None and deadline <= now:
            return _aborted(context, rejection(method))
        scope = Scope(deadline, source, method)
        end.join(scope)
        token = current_scope.set(scope)
        try:
            return ScopedResponses(behavior(request, context), scope)
        finally:
            restore(token)

    return handle


def _aborted(context: Any, details: str) -> Iterator[Any]:
    """Abort in the pool's thread: the plain context's ``abort`` waits for the loop, so it must not be called there."""
    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, details)
    yield None
