"""Ending RPCs of the sync stack that take longer than their server allows."""

from __future__ import annotations

from typing import Any

import grpc

from grpc_heartbeat import _faults, _grpcio
from grpc_heartbeat._timers import clock, timers
from grpc_heartbeat.core.scope import Reason
from grpc_heartbeat.core.server_events import RpcOverran
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.interceptors.inbound import SyncScope
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.server_state import end_scope


class LimitTimer(Timer):
    """Ends one RPC. The queue keeps it for a while after its RPC, so it then holds nothing."""

    __slots__ = ("_context", "_limit", "_method", "_scope")

    def __init__(self, scope: SyncScope, context: Any, method: Method, limit: float) -> None:
        self._scope: SyncScope | None = scope
        self._context: Any = context
        self._method = method
        self._limit = limit

    def describe(self) -> str:
        return f"the server's own limit of {self._method.path}"

    def cancel(self) -> None:
        self.when = None
        self._scope = self._context = None

    def fire(self) -> None:
        """End the RPC with DEADLINE_EXCEEDED, and what it called with it. The handler runs on and can ask for the reason."""
        scope, context, method = self._scope, self._context, self._method
        if scope is None or scope.finished or not context.is_active():
            return
        end_scope(scope, Reason.EXPIRED)
        if not _grpcio.abort_rpc(context, grpc.StatusCode.DEADLINE_EXCEEDED, method.overran(self._limit)):
            context.cancel()
        method.server.tell(RpcOverran(clock(), method.path, self._limit, method.limits.source if method.limits else ""))


def end_after(limit: float, scope: SyncScope, context: Any, method: Method, now: float, *, until_over: bool) -> None:
    """End the RPC ``limit`` seconds after ``now``. Never raises.

    ``until_over`` says that the handler's end is not seen reliably, so that only the end of the RPC calls it off.
    """
    try:
        timer = LimitTimer(scope, context, method, limit)
        scope.limit_timer = timer
        timer.start(timers().lane(limit), now)
        if until_over and not context.add_callback(timer.cancel):
            timer.cancel()
    except Exception as error:
        _faults.record("server.limit", error)
