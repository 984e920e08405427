"""The sync server interceptor: puts the inbound RPC's deadline and cancellation in scope for its handler.

grpcio calls ``intercept_service`` on its one serving thread, under the server's lock, so nothing is done there but a look-up
in a cache. The work happens in the wrapped behavior, on the worker that runs the handler.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.interceptors.handlers import OWN_SERVICE, HandlerCache, behavior_of, keep_marks, with_behavior
from grpc_heartbeat.interceptors.inbound import WatchedScope, deadline_of, rejection
from grpc_heartbeat.interceptors.responses import ScopedResponses

_UNKNOWN: tuple[Any, Any] = (None, None)


class DeadlineServerInterceptor(grpc.ServerInterceptor):
    """Opens a scope for each inbound RPC. Put it first, so that it sees the handlers of all others wrapped already."""

    def __init__(self) -> None:
        self._handlers = HandlerCache(_wrap)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        try:
            known, wrapped = self._handlers.entries.get(handler_call_details.method, _UNKNOWN)
            return wrapped if known is handler else self._handlers.get(handler_call_details.method, handler)
        except Exception as error:
            _faults.record("server.wrap", error)
            return handler


def _wrap(method: str, handler: Any) -> Any:
    if method.startswith(OWN_SERVICE):
        return handler
    behavior = behavior_of(handler)
    if getattr(behavior, "experimental_non_blocking", False):
        wrap = _non_blocking
    else:
        wrap = _response_stream if handler.response_streaming else _one_response
    return with_behavior(handler, keep_marks(behavior, wrap(behavior, method)))


def _begin(method: str, source: str, context: Any) -> Scope:
    """Return the scope of an RPC that is about to be handled; aborts it when nothing of its budget is left."""
    now = monotonic()
    deadline = deadline_of(context, context.invocation_metadata(), now)
    if deadline is not None and deadline <= now:
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, rejection(method))
    return WatchedScope(deadline, source, method, context)


def _one_response(behavior: Behavior, method: str) -> Behavior:
    source = f"inherited:{method}"

    def handle(request: Any, context: Any) -> Any:
        scope = _begin(method, source, context)
        token = current_scope.set(scope)
        try:
            return behavior(request, context)
        finally:
            current_scope.reset(token)
            scope.finish()

    return handle


def _response_stream(behavior: Behavior, method: str) -> Behavior:
    source = f"inherited:{method}"

    def handle(request: Any, context: Any) -> Any:
        scope = _begin(method, source, context)
        token = current_scope.set(scope)
        try:
            responses = behavior(request, context)
        except BaseException:
            scope.finish()
            raise
        finally:
            restore(token)
        return ScopedResponses(responses, scope)

    return handle


def _non_blocking(behavior: Behavior, method: str) -> Behavior:
    """A non-blocking behavior returns at once and goes on by callbacks, so only the end of the RPC ends its scope."""
    source = f"inherited:{method}"

    def handle(request: Any, context: Any, send_response: Any) -> Any:
        scope = _begin(method, source, context)
        token = current_scope.set(scope)
        try:
            return behavior(request, context, send_response)
        finally:
            restore(token)

    return handle
