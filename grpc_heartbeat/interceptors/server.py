"""The sync server interceptor: puts the inbound RPC's deadline and cancellation in scope for its handler.

grpcio calls ``intercept_service`` on its one serving thread, under the server's lock, so nothing is done there but a look-up
in a cache. The work happens in the wrapped behavior, on the worker that runs the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _faults, _in_flight
from grpc_heartbeat._call_events import rpc_starts
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.deadline import inbound_deadline
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.interceptors.accepting import EarlyAccept, SyncDriver
from grpc_heartbeat.interceptors.admission import DEFAULT_ACCEPT_AFTER, ServerPolicy
from grpc_heartbeat.interceptors.handlers import OWN_SERVICE, HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.interceptors.inbound import SyncScope, handler_over, tell_started
from grpc_heartbeat.interceptors.limiting import end_after, in_time, stream_in_time
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.responses import ScopedResponses
from grpc_heartbeat.interceptors.server_state import Asked, ServerState
from grpc_heartbeat.interceptors.speaking import speaks

_UNKNOWN: tuple[Any, Any] = (None, None)


class DeadlineServerInterceptor(Asked, grpc.ServerInterceptor):
    """Opens a scope for each inbound RPC. Put it first, so that it sees the handlers of all others wrapped already.

    The arguments are those of ``server_interceptors``.
    """

    def __init__(self, policy: ServerPolicy | None = None, accept_after: float | None = DEFAULT_ACCEPT_AFTER) -> None:
        self._state = ServerState(policy, accept_after)
        self._drivers: dict[float, SyncDriver] = {}
        self._handlers = HandlerCache(self._wrap)
        self._wrapped = self._handlers.entries

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        scope = SyncScope()
        scope.arrived = monotonic()
        current_scope.set(scope)
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        try:
            known, wrapped = self._wrapped.get(handler_call_details.method, _UNKNOWN)
            return wrapped if known is handler else self._handlers.get(handler_call_details.method, handler)
        except Exception as error:
            _faults.record("server.wrap", error)
            return handler

    def _wrap(self, path: str, handler: Any) -> Any:
        if path.startswith(OWN_SERVICE):
            return handler
        behavior = behavior_of(handler)
        method = self._state.method(path)
        early = None
        if method.accept_after is not None and not speaks(behavior):
            early = EarlyAccept(method, self._driver(method.accept_after))
        if getattr(behavior, "experimental_non_blocking", False):
            wrap = _non_blocking
        else:
            wrap = _response_stream if handler.response_streaming else _one_response
        inner = behavior
        if method.may_overrun and wrap is not _non_blocking:
            inner = (stream_in_time if handler.response_streaming else in_time)(behavior)
        return with_behavior(handler, keep_marks(behavior, wrap(inner, method, early)))

    def _driver(self, after: float) -> SyncDriver:
        driver = self._drivers.get(after)
        if driver is None:
            driver = self._drivers[after] = SyncDriver(after)
        return driver


@contextmanager
def _scope_of_its_own(arriving: Scope | None) -> Iterator[None]:
    """Have an RPC whose handler is about to start in a scope of its own, where that is not the current one.

    grpcio runs interceptors and handler of an RPC in a context of its own, so ``intercept_service`` has made its scope current,
    and there is nothing to undo; but another interceptor may run the handler in another context, or twice.
    """
    scope = SyncScope()
    if type(arriving) is SyncScope:
        scope.arrived = arriving.arrived
    token = current_scope.set(scope)
    try:
        yield
    finally:
        restore(token)


def _begin(scope: SyncScope, method: Method, early: EarlyAccept | None, context: Any, until_over: bool = False) -> None:
    """Begin the scope of an RPC that is about to be handled; aborts it when it is not to be started."""
    now = monotonic()
    own = refusal = None
    arrived = scope.arrived
    try:  # what ``deadline_of`` does, without its frame
        deadline = inbound_deadline(context.time_remaining(), context.invocation_metadata(), now, arrived)
    except Exception as error:
        deadline = None
        _faults.record("server.deadline_of", error)
    if method.limits is not None:
        deadline, own, refusal = method.server.admit(method, deadline, now, arrived)
    elif deadline is not None and deadline <= now:
        refusal = method.server.expired(method, now)
    if refusal is not None:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, refusal)
    scope.finished = False
    scope.deadline = deadline
    scope.source = method.source
    scope.method = method.path
    scope.members = set()
    scope.server = method.server
    scope.context = context
    if own is not None:
        end_after(own, scope, context, method, now, until_over=until_over)
    if early is not None and not method.speaks:
        early.watch(scope, context, now)
    if method.works:
        scope.counted = True
        _in_flight.begin(None)
    if rpc_starts.listening:
        tell_started(scope, now, arrived)


def _one_response(behavior: Behavior, method: Method, early: EarlyAccept | None) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        scope = current_scope.get()
        if type(scope) is not SyncScope or scope.method:
            with _scope_of_its_own(scope):
                return handle(request, context)
        _begin(scope, method, early, context)
        try:
            return behavior(request, context)
        finally:
            scope.finish()

    return handle


def _response_stream(behavior: Behavior, method: Method, early: EarlyAccept | None) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        scope = current_scope.get()
        if type(scope) is not SyncScope or scope.method:
            with _scope_of_its_own(scope):
                return handle(request, context)
        _begin(scope, method, early, context, until_over=True)
        try:
            responses = behavior(request, context)
        except BaseException:
            scope.finish()
            raise
        return ScopedResponses(responses, scope)

    return handle


def _non_blocking(behavior: Behavior, method: Method, early: EarlyAccept | None) -> Behavior:
    """A non-blocking behavior returns at once and goes on by callbacks, so only the end of the RPC ends its scope."""

    def handle(request: Any, context: Any, send_response: Any) -> Any:
        scope = current_scope.get()
        if type(scope) is not SyncScope or scope.method:
            with _scope_of_its_own(scope):
                return handle(request, context, send_response)
        _begin(scope, method, early, context, until_over=True)
        try:
            return behavior(request, context, send_response)
        finally:
            handler_over(scope)

    return handle
