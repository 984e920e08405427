"""Ending RPCs of the asyncio stack that take longer than their server allows.

A status can only be sent by ``context.abort``, at a moment when the handler is not sending anything. So the timer cancels the
RPC's task where it waits in the handler, and the handler's wrapper aborts when the handler has let go. A generator that is
suspended while a response of it is being written is not running; it is ended when it would be resumed. A plain function runs on
in its thread; its RPC is ended beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat.interceptors.accepting_aio import RpcEnd
from grpc_heartbeat.interceptors.inbound import InboundScope
from grpc_heartbeat.interceptors.limiting import Limit, ThreadLimit
from grpc_heartbeat.interceptors.method import Method


class AioLimit(Limit):
    """Ends one RPC whose handler is a coroutine or an asynchronous generator.

    Attributes:
        passed: Whether the limit has passed while the handler ran. Its wrapper then calls ``abort``.
        running: Whether the task is inside the handler, and not in what grpc.aio does with its response.
    """

    __slots__ = ("_task", "passed", "running")

    def __init__(self, scope: InboundScope, method: Method, limit: float, now: float) -> None:
        super().__init__(scope, method, limit, now)
        self._task = asyncio.current_task()
        self.passed = False
        self.running = True

    def cancel(self) -> None:
        super().cancel()
        self._task = None

    def fire(self) -> None:
        """End what the RPC called, and have the handler let go."""
        task = self._task
        if task is None or task.done() or not self.end_scope():
            return
        self.passed = True
        if self.running:
            task.cancel()

    async def abort(self, context: Any) -> None:
        """End the RPC, in its task. Raises what the context's ``abort`` raises."""
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, self.details)


class PlainLimit(ThreadLimit):
    """Ends one RPC whose handler is a plain function."""

    __slots__ = ("_aborted", "_context", "_end")

    def __init__(
        self, scope: InboundScope, method: Method, limit: float, now: float, context: Any, end: RpcEnd
    ) -> None:
        super().__init__(scope, method, limit, now)
        self._aborted = False
        self._context = context
        self._end: RpcEnd | None = end

    def cancel(self) -> None:
        super().cancel()
        self._context = self._end = None

    def fire(self) -> None:
        """End what the RPC called, and the RPC, from one of the loop's default threads: plain contexts block."""
        context, end = self._context, self._end
        if end is not None and not end.over and self.end_scope():
            asyncio.get_running_loop().run_in_executor(None, self._abort, context, end)

    def end(self, context: Any) -> None:
        context, end = self._context, self._end  # grpcio's own: one that stands before it would wait for us
        self.end_scope()
        if end is not None:
            self._abort(context, end, raises=True)

    def _abort(self, context: Any, end: RpcEnd, *, raises: bool = False) -> None:
        with end.sending:
            if self._aborted or end.over:
                return
            self._aborted = True
            try:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, self.details)
            except Exception:  # that is how it returns
                if raises:
                    raise


async def limited(responses: AsyncGenerator[Any, None], limit: AioLimit) -> AsyncIterator[Any]:
    """Yield ``responses`` until ``limit`` has passed."""
    try:
        async for response in responses:
            limit.running = False
            yield response
            if limit.passed:
                return
            limit.running = True
    finally:
        await responses.aclose()


def start(timer: Limit, limit: float, scope: InboundScope, loop: asyncio.AbstractEventLoop) -> None:
    """Let ``timer`` end the RPC after ``limit`` seconds. Never raises."""
    try:
        scope.limit_timer = timer
        timer.start(loop_timers(loop).lane(limit), loop.time())
    except Exception as error:
        _faults.record("server.limit_aio", error)
