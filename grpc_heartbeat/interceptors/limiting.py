"""Ending RPCs that take longer than their server allows, where handlers are functions that run in threads.

A timer ends the RPC and what it called; the handler runs on, as threads do, and can ask for the reason. A handler that asks and
then returns must not look as if it had succeeded. So what a handler gives after its limit has passed does not count, whether or
not the timer was first: a limit of the server then looks to the client as one of its own would.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _faults, _grpcio_abort
from grpc_heartbeat._current import current_scope
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat._types import Behavior
from grpc_heartbeat.core.scope import Reason
from grpc_heartbeat.core.server_events import RpcOverran
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.interceptors.inbound import InboundScope, SyncScope
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.server_state import end_scope


class Limit(Timer):
    """Ends one RPC. The queue keeps it for a while after its RPC, so it then holds nothing that is large."""

    __slots__ = ("_limit", "_scope", "ends", "method")

    def __init__(self, scope: InboundScope, method: Method, limit: float, now: float) -> None:
        self._scope: InboundScope | None = scope
        self._limit = limit
        self.method = method
        self.ends = now + limit

    def describe(self) -> str:
        return f"the server's own limit of {self.method.path}"

    def cancel(self) -> None:
        self.when = None
        self._scope = None

    def end_scope(self) -> bool:
        """End what the RPC called; return whether this is the first time that the limit is seen to have passed."""
        scope, method = self._scope, self.method
        if scope is None or scope.finished:
            return False
        self._scope = None
        end_scope(scope, Reason.EXPIRED)
        source = "" if method.limits is None else method.limits.source
        method.server.tell(RpcOverran(monotonic(), method.path, self._limit, source))
        return True

    @property
    def details(self) -> str:
        """What the client is told."""
        return self.method.overran(self._limit)


class ThreadLimit(Limit):
    """Ends one RPC whose handler runs in a thread."""

    __slots__ = ()

    def end(self, context: Any) -> None:
        """End the RPC from its handler's thread, most often by an exception. ``context`` is the handler's."""
        raise NotImplementedError(f"{type(self).__name__}.end")


class SyncLimit(ThreadLimit):
    """On the sync stack."""

    __slots__ = ("_context",)

    def __init__(self, scope: SyncScope, method: Method, limit: float, now: float) -> None:
        super().__init__(scope, method, limit, now)
        self._context = scope.context

    def cancel(self) -> None:
        super().cancel()
        self._context = None

    def fire(self) -> None:
        context = self._context
        if context is None or not context.is_active() or not self.end_scope():
            return
        if not _grpcio_abort.abort_rpc(context, grpc.StatusCode.DEADLINE_EXCEEDED, self.details):
            context.cancel()

    def end(self, context: Any) -> None:
        self.end_scope()
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, self.details)


def end_after(limit: float, scope: SyncScope, context: Any, method: Method, now: float, *, until_over: bool) -> None:
    """End the RPC ``limit`` seconds after ``now``. Never raises.

    ``until_over`` says that the handler's end is not seen reliably, so that only the end of the RPC calls it off.
    """
    try:
        timer = SyncLimit(scope, method, limit, now)
        scope.limit_timer = timer
        timer.start(timers().lane(limit), clock())
        if until_over and not context.add_callback(timer.cancel):
            timer.cancel()
    except Exception as error:
        _faults.record("server.limit", error)


def in_time(behavior: Behavior) -> Behavior:
    """Return ``behavior``, of one response, so that the RPC ends with DEADLINE_EXCEEDED when it overran its limit."""

    def handle(request: Any, context: Any) -> Any:
        try:
            response = behavior(request, context)
        except Exception:
            _look(context)
            raise
        _look(context)
        return response

    return handle


def stream_in_time(behavior: Behavior) -> Behavior:
    """Return ``behavior``, of a stream of responses, so that nothing but DEADLINE_EXCEEDED comes after its limit."""

    def handle(request: Any, context: Any) -> Any:
        return _ResponsesInTime(behavior(request, context), context)

    return handle


class _ResponsesInTime:
    __slots__ = ("_context", "_responses")

    def __init__(self, responses: Any, context: Any) -> None:
        self._responses = responses
        self._context = context

    def __iter__(self) -> Iterator[Any]:
        self._responses = iter(self._responses)
        return self

    def __next__(self) -> Any:
        try:
            response = next(self._responses)
        except Exception:
            _look(self._context)
            raise
        _look(self._context)
        return response


def _look(context: Any) -> None:
    scope = current_scope.get()
    limit = scope.limit_timer if isinstance(scope, InboundScope) else None
    if isinstance(limit, ThreadLimit) and limit.ends <= monotonic():
        limit.end(context)
