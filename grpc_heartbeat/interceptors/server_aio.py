"""The asyncio server interceptor: puts the inbound RPC's deadline and cancellation in scope for its handler.

grpc.aio tells the handler styles apart by inspecting the function, so each wrapper is of the same kind as what it wraps:
a coroutine function, an asynchronous generator function, or a plain function that the server runs in its thread pool
(``interceptors.plain_aio``).

How the end of an RPC is noticed differs with the kind. grpc.aio cancels the RPC's task: a coroutine sees ``CancelledError``,
a suspended generator sees nothing, so the context's done-callback is used, and a plain function runs on in its thread, so
the task itself is watched (``intercept_service`` runs in that task).

Each RPC has a task, and so a context, of its own: what coroutines and generators set there is never reset.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import current_task, get_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults, _in_flight
from grpc_heartbeat._call_events import rpc_starts
from grpc_heartbeat._current import current_scope
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.deadline import inbound_deadline
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.interceptors.accepting_aio import AcceptingContext, EarlyAccept
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.handlers import OWN_SERVICE, HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.interceptors.inbound import AioScope, handler_over, rpc_ended, tell_started
from grpc_heartbeat.interceptors.limiting_aio import AioLimit, limited, start
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.plain_aio import PlainHandler
from grpc_heartbeat.interceptors.server_state import Asked, ServerState
from grpc_heartbeat.interceptors.speaking import speaks

_UNKNOWN: tuple[Any, Any] = (None, None)


class AioDeadlineServerInterceptor(Asked, grpc.aio.ServerInterceptor):
    """Opens a scope for each inbound RPC. Put it first, so that it sees the handlers of all others wrapped already.

    The arguments are those of ``server_interceptors``.
    """

    def __init__(self, policy: ServerPolicy | None = None, accept_after: float | None = DEFAULT_ACCEPT_AFTER) -> None:
        self._state = ServerState(policy, accept_after)
        self._early: dict[float, EarlyAccept] = {}
        self._handlers = HandlerCache(self._wrap)
        self._wrapped = self._handlers.entries

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        arrived = monotonic()
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        try:
            known, wrapped = self._wrapped.get(handler_call_details.method, _UNKNOWN)
            if known is not handler:
                wrapped = self._handlers.get(handler_call_details.method, handler)
            metadata = handler_call_details.invocation_metadata
            if type(wrapped) is PlainHandler:
                return wrapped.watched(metadata, arrived)
            scope = AioScope()
            scope.arrived = arrived
            scope.metadata = metadata
            current_scope.set(scope)
            return wrapped
        except Exception as error:
            _faults.record("server.wrap_aio", error)
            return handler

    def _wrap(self, path: str, handler: Any) -> Any:
        if path.startswith(OWN_SERVICE):
            return handler
        behavior = behavior_of(handler)
        method = self._state.method(path)
        early = None
        if method.accept_after is not None and not speaks(behavior):
            early = self._early.setdefault(method.accept_after, EarlyAccept(method.accept_after))
        if inspect.iscoroutinefunction(behavior):
            wrapper = _coroutine(behavior, method, early)
        elif inspect.isasyncgenfunction(behavior):
            wrapper = _generator(behavior, method, early)
        else:
            return PlainHandler(handler, method, early)
        return with_behavior(handler, keep_marks(behavior, wrapper))


def _scope_of_its_own(arriving: Scope | None, context: Any) -> AioScope:
    """Return a scope for an RPC whose handler is about to start where the current one is not for it, and make it current."""
    scope = AioScope()
    if type(arriving) is AioScope:  # somebody runs the handler again
        scope.arrived = arriving.arrived
        scope.metadata = arriving.metadata
    else:  # or in another context
        scope.metadata = context.invocation_metadata()
    current_scope.set(scope)
    return scope


def _begin(method: Method, early: EarlyAccept | None, context: Any) -> AioScope | str:
    """Begin the scope of an RPC whose handler is about to start, or return why it is not to be started."""
    now = monotonic()
    scope = current_scope.get()
    if type(scope) is not AioScope or scope.method:
        scope = _scope_of_its_own(scope, context)
    own = refusal = None
    arrived = scope.arrived
    try:  # what ``deadline_of`` does, without its frame
        deadline = inbound_deadline(context.time_remaining(), scope.metadata, now, arrived)
    except Exception as error:
        deadline = None
        _faults.record("server.deadline_of", error)
    if method.limits is not None:
        deadline, own, refusal = method.server.admit(method, deadline, now, arrived)
    elif deadline is not None and deadline <= now:
        refusal = method.server.expired(method, now)
    if refusal is not None:
        return refusal
    scope.finished = False
    scope.deadline = deadline
    scope.source = method.source
    scope.method = method.path
    scope.members = set()
    scope.server = method.server
    scope.context = context
    loop = get_running_loop()
    scope.task = current_task(loop)
    if early is not None and not method.speaks:
        scope.context = scope.accepting = AcceptingContext(context, method, now)
        early.watch(scope.accepting, loop)
    if own is not None:
        scope.limit = AioLimit(scope, method, own, now)
        start(scope.limit, own, scope, loop)
    if method.works:
        scope.counted = True
        _in_flight.begin(None)
    if rpc_starts.listening:
        tell_started(scope, now, arrived)
    return scope


async def _settle(scope: AioScope, context: Any, error: BaseException | None = None) -> None:
    """Do what is left when the handler has let go. Raises when the RPC is ended by the server's own limit."""
    accepting, limit = scope.accepting, scope.limit
    ended = limit is not None and limit.passed and not isinstance(error, grpc.aio.AbortError)
    if accepting is not None:
        accepting.pending = False
        if accepting.sending is not None and (ended or not isinstance(error, asyncio.CancelledError)):
            await accepting.settle()
    if limit is not None and ended:
        await limit.abort(context)


def _coroutine(behavior: Behavior, method: Method, early: EarlyAccept | None) -> Behavior:
    async def handle(request: Any, context: Any) -> Any:
        scope = _begin(method, early, context)
        if isinstance(scope, str):
            return await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, scope)
        try:
            response = await behavior(request, scope.context)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                rpc_ended(scope)
            await _settle(scope, context, error)
            raise
        finally:
            scope.finish()
        # What ``_settle`` does, without its frame.
        if early is not None and scope.accepting is not None:
            scope.accepting.pending = False
            if scope.accepting.sending is not None:
                await scope.accepting.settle()
        if method.limits is not None and scope.limit is not None and scope.limit.passed:
            await scope.limit.abort(context)
        return response

    return handle


def _generator(behavior: Behavior, method: Method, early: EarlyAccept | None) -> Behavior:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        scope = _begin(method, early, context)
        if isinstance(scope, str):
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, scope)
            return
        context.add_done_callback(lambda _: rpc_ended(scope))
        accepting = scope.accepting
        try:
            responses = behavior(request, scope.context)
            if scope.limit is not None:
                responses = limited(responses, scope.limit)
            async for response in responses:
                if accepting is not None:  # the first response brings initial metadata
                    await accepting.settle()
                    accepting = None
                yield response
        except asyncio.CancelledError as error:
            handler_over(scope)
            await _settle(scope, context, error)
            raise
        except GeneratorExit:
            handler_over(scope)
            raise
        except Exception as error:
            scope.finish()
            await _settle(scope, context, error)
            raise
        scope.finish()
        await _settle(scope, context)

    return handle
