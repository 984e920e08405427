"""Call objects of the asyncio stack that wait until their channel's breaker lets calls through.

The application has its call object at once. What has to wait for the server waits for the start first; the rest is answered for
a call that is under way and has received nothing. The call starts on the loop on which it was made, when the breaker closes, in
the context in which it was made, with what is left of its own budget. It ends without being sent when the budget is spent or
it is cancelled; when its scope ends, it starts, and is refused for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _faults
from grpc_heartbeat._loop_timers import loop_timers
from grpc_heartbeat._types import AioStreamStreamCall, AioStreamUnaryCall, AioUnaryStreamCall, AioUnaryUnaryCall
from grpc_heartbeat.channel.loops_aio import on_loop
from grpc_heartbeat.channel.switch import Switch
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.core.scope import Scope
from grpc_heartbeat.errors import timeout_of

_LEAST = 1e-6
_CANCELLED = "Locally cancelled by application!"


class _Waiting:
    """What the four kinds share.

    Args:
        switch: What lets calls through.
        begin: Makes the call; it is given the seconds that are left of its own budget.
        expired: Makes a call that has ended because its budget, of so many seconds, was spent after so many.
        limit: Its own budget in seconds, or ``None``.
        scope: What it was made in, or ``None``.
    """

    def __init__(
        self,
        switch: Switch[Any],
        begin: Callable[[float | None], Any],
        expired: Callable[[float, float], Any],
        limit: float | None,
        scope: Scope | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._switch = switch
        self._begin = begin
        self._limit = limit
        self._scope = scope
        self._made = self._loop.time()
        self._call: Any = None
        self._dropped = False
        self._error: Exception | None = None
        self._there: asyncio.Future[None] = self._loop.create_future()
        self._callbacks: list[Callable[[Any], None]] = []
        deadline = None if scope is None else scope.deadline
        budget = limit if deadline is None else min(deadline - self._made, deadline if limit is None else limit)
        self._timer = None
        if budget is not None:
            expire = lambda: self._become(expired(budget, self._loop.time() - self._made))  # noqa: E731 - it is short
            self._timer = loop_timers(self._loop).timeout(max(budget, 0.0), expire)
            self._timer.arm(self._made)
        if scope is not None:
            scope.adopt(self)
        if not switch.wait(self._start):
            self._start()

    @property
    def timeout(self) -> TimeoutFacts | None:
        """The facts of the limit that ended this call, if one did and somebody has already seen it."""
        return None if self._call is None else timeout_of(self._call)

    def scope_cancelled(self, scope: Scope) -> None:
        """End now: nothing starts in a scope that is cancelled."""
        on_loop(self._loop, self._start)

    def _start(self) -> None:
        if self._switch.over:
            self._become(None)
        elif not self._there.done():
            left = None if self._limit is None else max(self._limit - (self._loop.time() - self._made), _LEAST)
            try:
                call = self._begin(left)
            except Exception as error:  # what the application would have been told if it had not waited
                self._error, call = error, None
            self._become(call)

    def _become(self, call: Any) -> None:
        """Stand for ``call`` from now on; for one that was cancelled before it started if it is ``None``."""
        if self._there.done():
            return
        self._call, self._dropped = call, call is None
        self._there.set_result(None)
        self._switch.leave(self._start)
        if self._timer is not None:
            self._timer.cancel()
        if self._scope is not None:
            self._scope.release(self)
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                self.add_done_callback(callback)
            except Exception as error:
                _faults.record("channel.waiting_aio", error)

    async def _real(self) -> Any:
        """Wait for the start and return the call.

        Raises:
            asyncio.CancelledError: the call was cancelled before, or the task is; that cancels the call, as with any call.
        """
        if not self._there.done():
            try:
                await asyncio.shield(self._there)
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self._error is not None:
            raise self._error
        if self._dropped:
            raise asyncio.CancelledError(_CANCELLED)
        return self._call

    def done(self) -> bool:
        return self._dropped or (self._call is not None and bool(self._call.done()))

    def cancelled(self) -> bool:
        return self._dropped or (self._call is not None and bool(self._call.cancelled()))

    def cancel(self) -> bool:
        if self._call is not None:
            return bool(self._call.cancel())
        cancelled = not self._dropped
        self._become(None)
        return cancelled

    def time_remaining(self) -> float | None:
        if self._call is not None:
            remaining: float | None = self._call.time_remaining()
            return remaining
        return None if self._limit is None else max(0.0, self._limit - (self._loop.time() - self._made))

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._dropped:
            callback(self)
        elif self._call is None:
            self._callbacks.append(callback)
        else:
            self._call.add_done_callback(lambda _: callback(self))

    async def _ask(self, name: str, otherwise: Any) -> Any:
        """Return what the call's method ``name`` says; ``otherwise`` for one that was cancelled before it started."""
        if not self._there.done():
            await asyncio.shield(self._there)
        return otherwise if self._dropped else await getattr(self._call, name)()

    async def initial_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._ask("initial_metadata", grpc.aio.Metadata())
        return metadata

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._ask("trailing_metadata", grpc.aio.Metadata())
        return metadata

    async def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = await self._ask("code", grpc.StatusCode.CANCELLED)
        return code

    async def details(self) -> str:
        details: str = await self._ask("details", _CANCELLED)
        return details

    async def debug_error_string(self) -> str:
        text: str = await self._ask("debug_error_string", _CANCELLED)
        return text

    async def wait_for_connection(self) -> None:
        await (await self._real()).wait_for_connection()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} that waits for its breaker>" if self._call is None else repr(self._call)

    def __getattr__(self, name: str) -> Any:
        call = self.__dict__.get("_call")
        if call is None:
            raise AttributeError(name)
        return getattr(call, name)


class _Response(_Waiting):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._respond().__await__()

    async def _respond(self) -> Any:
        return await (await self._real())


class _Responses(_Waiting):
    _next: Callable[[], Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        step = self._next
        if step is None:
            self._next = step = (await self._real()).__aiter__().__anext__
        return await step()

    async def read(self) -> Any:
        return await (await self._real()).read()

    async def aclose(self) -> None:
        """Cancel the call: nobody reads on."""
        self.cancel()


class _Requests(_Waiting):
    async def write(self, request: Any) -> None:
        if self._dropped:
            raise asyncio.InvalidStateError(_CANCELLED)
        await (await self._real()).write(request)

    async def done_writing(self) -> None:
        if not self._dropped:
            await (await self._real()).done_writing()


class WaitingUnaryUnaryCall(_Response, AioUnaryUnaryCall):
    """A unary-unary call."""


class WaitingUnaryStreamCall(_Responses, AioUnaryStreamCall):
    """A unary-stream call."""


class WaitingStreamUnaryCall(_Response, _Requests, AioStreamUnaryCall):
    """A stream-unary call."""


class WaitingStreamStreamCall(_Responses, _Requests, AioStreamStreamCall):
    """A stream-stream call."""
