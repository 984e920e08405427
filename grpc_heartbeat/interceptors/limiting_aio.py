"""Ending RPCs of the asyncio stack that take longer than their server allows.

A status can only be sent by ``context.abort``, at a moment when the handler is not sending anything. So the timer cancels the
RPC's task where it waits in the handler, and the handler's wrapper aborts when the handler has let go. A generator that is
suspended while a response of it is being written is not running; it is ended when it would be resumed. A plain function runs on
in its thread; its RPC is ended beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.core.server_events import RpcOverran
from grpc_heartbeat.core.timers import Timer
from grpc_heartbeat.interceptors.inbound import InboundScope
from grpc_heartbeat.interceptors.method import Method
from grpc_heartbeat.interceptors.server_state import end_scope


class AioLimit(Timer):
    """Ends one RPC whose handler is a coroutine or an asynchronous generator. The queue keeps it after its RPC.

    Attributes:
        passed: Whether the limit has passed while the handler ran. Its wrapper then calls ``end``.
        running: Whether the task is inside the handler, and not in what grpc.aio does with its response.
    """

    __slots__ = ("_limit", "_method", "_scope", "_task", "passed", "running")

    def __init__(self, scope: Scope, method: Method, limit: float) -> None:
        self._scope: Scope | None = scope
        self._method = method
        self._limit = limit
        self._task = asyncio.current_task()
        self.passed = False
        self.running = True

    def describe(self) -> str:
        return f"the server's own limit of {self._method.path}"

    def cancel(self) -> None:
        self.when = None
        self._scope = self._task = None

    def fire(self) -> None:
        """End what the RPC called, and have the handler let go."""
        scope, task = self._scope, self._task
        if scope is None or scope.reason is not None or task is None or task.done():
            return
        self.passed = True
        end_scope(scope, Reason.EXPIRED)
        if self.running:
            task.cancel()

    async def end(self, context: Any) -> None:
        """End the RPC. Raises what ``abort`` raises."""
        _uncancel(asyncio.current_task())
        method = self._method
        method.server.tell(
            RpcOverran(monotonic(), method.path, self._limit, method.limits.source if method.limits else "")
        )
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, method.overran(self._limit))


class PlainLimit(Timer):
    """Ends one RPC whose handler is a plain function."""

    __slots__ = ("_context", "_end", "_limit", "_method", "_scope")

    def __init__(self, scope: Scope, method: Method, limit: float, context: Any, end: Any) -> None:
        self._scope: Scope | None = scope
        self._method = method
        self._limit = limit
        self._context: Any = context
        self._end: Any = end

    def describe(self) -> str:
        return f"the server's own limit of {self._method.path}"

    def cancel(self) -> None:
        self.when = None
        self._scope = self._context = self._end = None

    def fire(self) -> None:
        """End what the RPC called, and the RPC, from one of the loop's default threads: plain contexts block."""
        scope, context, end = self._scope, self._context, self._end
        if scope is None or scope.finished or end.over:
            return
        end_scope(scope, Reason.EXPIRED)
        asyncio.get_running_loop().run_in_executor(None, self._abort, context, end)

    def _abort(self, context: Any, end: Any) -> None:
        method = self._method
        with end.sending:
            if end.over:
                return
            try:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, method.overran(self._limit))
            except Exception:  # that is how it returns; also when the RPC is over
                pass
        method.server.tell(
            RpcOverran(monotonic(), method.path, self._limit, method.limits.source if method.limits else "")
        )


async def limited(responses: AsyncGenerator[Any, None], limit: AioLimit) -> AsyncIterator[Any]:
    """Yield ``responses`` until ``limit`` has passed."""
    try:
        async for response in responses:
            limit.running = False
            yield response
            limit.running = True
            if limit.passed:
                return
    finally:
        await responses.aclose()


def start(timer: Timer, limit: float, scope: InboundScope, loop: asyncio.AbstractEventLoop) -> None:
    """Let ``timer`` end the RPC after ``limit`` seconds. Never raises."""
    try:
        timer.start(loop_timers(loop).lane(limit), loop.time())
        scope.limit_timer = timer
    except Exception as error:
        _faults.record("server.limit_aio", error)


def _uncancel(task: Any) -> None:
    """Take back the cancel of ``fire``: the task goes on, to send the RPC's status."""
    if hasattr(task, "uncancel"):  # since Python 3.11
        task.uncancel()
