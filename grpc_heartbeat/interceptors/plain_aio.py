"""Handlers of an asyncio server that are plain functions: the server runs them in its thread pool.

Nothing tells them that their RPC has ended, and context variables do not reach the pool. So the handler is wrapped anew for
each RPC, in the RPC's own task: the end of that task is the end of the RPC, and what the thread needs to know travels in the
wrapper.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _in_flight
from grpc_heartbeat._call_events import rpc_starts
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.interceptors.accepting_aio import EarlyAccept, PlainAcceptingContext
from grpc_heartbeat.interceptors.handlers import behavior_of, keep_marks, with_behavior
from grpc_heartbeat.interceptors.inbound import (
    InboundScope,
    deadline_of,
    rpc_ended,
    tell_started,
)
from grpc_heartbeat.interceptors.limiting import in_time, stream_in_time
from grpc_heartbeat.interceptors.limiting_aio import PlainLimit, start
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.responses import ScopedResponses


class PlainHandler:
    """A handler whose behavior is a plain function."""

    def __init__(self, handler: Any, method: Method, early: EarlyAccept | None) -> None:
        self._handler = handler
        self._behavior = behavior_of(handler)
        self._method = method
        self._early = early
        if method.may_overrun:
            self._behavior = (stream_in_time if handler.response_streaming else in_time)(self._behavior)

    def watched(self, metadata: Any, arrived: float) -> Any:
        """Return a handler for the RPC whose task is the current one."""
        rpc = PlainRpc(self._method, self._early, metadata, arrived)
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(rpc.reached)
        wrap = _plain_stream if self._handler.response_streaming else _plain_response
        return with_behavior(self._handler, keep_marks(behavior_of(self._handler), wrap(self._behavior, rpc)))


class PlainRpc:
    """One RPC. Joins the end of its task to the scope that is opened later. Whichever comes second sees the other.

    Attributes:
        over: Whether the RPC has ended.
        sending: Held while something is sent that the handler did not send.
    """

    __slots__ = ("_arrived", "_early", "_loop", "_metadata", "_scope", "accepting", "method", "over", "sending")

    def __init__(self, method: Method, early: EarlyAccept | None, metadata: Any, arrived: float) -> None:
        self.method = method
        self.over = False
        self.sending = threading.Lock()
        self.accepting: PlainAcceptingContext | None = None
        self._early = early
        self._metadata = metadata
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._scope: InboundScope | None = None

    def begin(self, context: Any) -> InboundScope | str:
        """Return the scope of the RPC, whose handler is about to start, or why it is not to be started."""
        method = self.method
        now = monotonic()
        own = refusal = None
        deadline = deadline_of(context, self._metadata, now, self._arrived)
        if method.limits is not None:
            deadline, own, refusal = method.server.admit(method, deadline, now, self._arrived)
        elif deadline is not None and deadline <= now:
            refusal = method.server.expired(method, now)
        if refusal is not None:
            return refusal
        self._scope = scope = InboundScope(deadline, method)
        if self._early is not None and not method.speaks:
            self.accepting = PlainAcceptingContext(context, method, now, self)
            self._early.watch(self.accepting, self._loop)
        if own is not None:
            start(PlainLimit(scope, method, own, now, context, self), own, scope, self._loop)
        if self.over:
            rpc_ended(scope)
        if method.works:
            scope.counted = True
            _in_flight.begin(None)
        if rpc_starts.listening:
            tell_started(scope, now, self._arrived)
        return scope

    def reached(self, task: Any) -> None:
        """Note the end of the RPC's task."""
        self.over = True
        if self.accepting is not None:
            self.accepting.pending = False
        if self._scope is not None:
            rpc_ended(self._scope)

    def settle(self) -> None:
        """Return when nothing is sent by us any more. The handler calls this before something of its own is sent."""
        if self.accepting is not None:
            self.accepting.settle()


def _plain_response(behavior: Behavior, rpc: PlainRpc) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        scope = rpc.begin(context)
        if isinstance(scope, str):
            return context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, scope)
        token = current_scope.set(scope)
        try:
            return behavior(request, rpc.accepting or context)
        finally:
            scope.finish()
            restore(token)
            rpc.settle()

    return handle


def _plain_stream(behavior: Behavior, rpc: PlainRpc) -> Behavior:
    def handle(request: Any, context: Any) -> Any:
        """Called on the loop's thread; what it returns is iterated in the pool."""
        scope = rpc.begin(context)
        if isinstance(scope, str):
            return _aborted(context, scope)
        token = current_scope.set(scope)
        try:
            responses = behavior(request, rpc.accepting or context)
        except BaseException:
            scope.finish()
            raise
        finally:
            restore(token)
        return ScopedResponses(responses, scope) if rpc.accepting is None else _SettledResponses(responses, scope, rpc)

    return handle


class _SettledResponses(ScopedResponses):
    """Lets what we send beside the handler come to its end before anything that the handler sends."""

    __slots__ = ("_rpc",)

    def __init__(self, responses: Any, scope: InboundScope, rpc: PlainRpc) -> None:
        super().__init__(responses, scope)
        self._rpc: PlainRpc | None = rpc

    def __next__(self) -> Any:
        try:
            return super().__next__()
        finally:
            if self._rpc is not None:
                self._rpc.settle()
                self._rpc = None


def _aborted(context: Any, details: str) -> Iterator[Any]:
    """Abort in the pool's thread: the plain context's ``abort`` waits for the loop, so it must not be called there."""
    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, details)
    yield None
