"""The call objects of asyncio calls that are limited, or whose being dropped is to be noticed.

They are grpcio's public call classes around grpcio's own call: every method is passed on. What differs:

- An end that one of our limits or the scope made is raised as ``AioEndedCall``, and ``code()`` and ``details()`` say the same.
- An end that gRPC itself made because a limit was spent says which, and has ``timeout``.
- ``write()`` on a call that has failed says what it failed with (``AioFailedWrite``).
- A call for a response stream that is dropped before its end (a ``break`` out of ``async for``) is cancelled. A call for a
  single response that is dropped goes on, as it does in grpcio.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from grpc_heartbeat import _grpcio_aio
from grpc_heartbeat._types import AioStreamStreamCall, AioStreamUnaryCall, AioUnaryStreamCall, AioUnaryUnaryCall
from grpc_heartbeat.channel.flight_aio import Flight
from grpc_heartbeat.channel.loops_aio import COUNTS_CANCELS, cancel_requests, forget_cancel_request
from grpc_heartbeat.channel.single_response_aio import SingleResponse
from grpc_heartbeat.core.facts import TimeoutFacts
from grpc_heartbeat.errors import AioEndedCall, AioFailedWrite, status_of


class _Limited:
    """What the four kinds share.

    Args:
        call: grpcio's call.
        flight: What watches over it; it must not refer to this object.
    """

    _ahead: Callable[[], Any] | None = None
    """What a read that was not the application's came to; its next one is to come to the same."""

    def __init__(self, call: Any, flight: Flight) -> None:
        self._call = call
        self._flight = flight

    @property
    def timeout(self) -> TimeoutFacts | None:
        """The facts of the limit that ended this call, if one did and somebody has already seen it."""
        verdict = self._flight.seen
        return None if verdict is None else verdict.facts

    def cancelled(self) -> bool:
        verdict = self._flight.verdict
        return bool(self._call.cancelled()) if verdict is None else verdict.status == "CANCELLED"

    def done(self) -> bool:
        return bool(self._call.done())

    def cancel(self) -> bool:
        flight = self._flight
        if not _grpcio_aio.cancel(self._call):
            return False
        flight.cancelled = True
        flight.release()
        flight.wake()
        return True

    def time_remaining(self) -> float | None:
        try:
            remaining: float | None = self._call.time_remaining()
        except NotImplementedError:  # grpcio's call behind interceptors
            flight = self._flight
            return None if flight.limit is None else max(0.0, flight.started + flight.limit - monotonic())
        return remaining

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._call.initial_metadata()
        return metadata

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        metadata: grpc.aio.Metadata = await self._call.trailing_metadata()
        return metadata

    async def code(self) -> grpc.StatusCode:
        flight = self._flight
        if flight.verdict is None:
            flight.late = flight.late or self._call.done()
            code: grpc.StatusCode = await self._call.code()
            if code is grpc.StatusCode.OK:
                return code
            verdict = flight.told(code, await self._call.details() or "")
            if verdict is None:
                return code
        else:
            verdict = flight.verdict
        return status_of(verdict)

    async def details(self) -> str:
        await self.code()
        verdict = self._flight.seen
        details: str = await self._call.details() if verdict is None else verdict.details
        return details

    async def debug_error_string(self) -> str:
        verdict = self._flight.verdict
        text: str = await self._call.debug_error_string() if verdict is None else verdict.details
        return text

    async def wait_for_connection(self) -> None:
        await self._through(self._call.wait_for_connection())

    async def _through(self, waiting: Any) -> Any:
        """Wait for grpcio, woken by an early end, and tell that in our words."""
        flight = self._flight
        before = cancel_requests()
        if flight.loop is None:
            flight.awaited()
        task = asyncio.current_task()
        if task is not None:
            flight.waiters = (*flight.waiters, task)
        try:
            return await waiting
        except asyncio.CancelledError:
            if task is not None and task in flight.woken:
                forget_cancel_request(task)
            flight.raise_ours(before)
            raise
        except grpc.aio.AioRpcError as error:
            flight.raise_told(error)
            raise
        except grpc.aio.InternalError:
            # So fails what is under way when the call ends; the status comes next.
            verdict = flight.told(await self._call.code(), await self._call.details() or "")
            if verdict is None:
                raise
            raise AioEndedCall(verdict) from None
        finally:
            flight.waiters = tuple(waiter for waiter in flight.waiters if waiter is not task)

    def __repr__(self) -> str:
        return repr(self._call)

    def __str__(self) -> str:
        return str(self._call)

    def __getattr__(self, name: str) -> Any:
        if name in {"_call", "_flight"}:  # not there before __init__
            raise AttributeError(name)
        return getattr(self._call, name)


class _Response(_Limited):
    """A call that is awaited for its one response."""

    _source: Any = None
    """What is awaited for the response, where it is not grpcio's call."""

    def __await__(self) -> Generator[Any, None, Any]:
        flight = self._flight
        call = self._call
        before = cancel_requests(flight.loop)
        if call.done():
            flight.late = True
        elif flight.loop is None:
            flight.awaited()
        try:
            result = yield from (self._source or call).__await__()
        except asyncio.CancelledError:
            if not call.done():  # grpcio forgets to cancel it, if interceptors have just made it
                call.cancel()
            flight.release()
            flight.raise_ours(before)
            raise
        except grpc.aio.AioRpcError as error:
            flight.release()
            flight.raise_told(error)
            raise
        flight.release()
        return result

    def __del__(self) -> None:
        flight = getattr(self, "_flight", None)
        if flight is not None and flight.call is not None:
            if self._call.done():
                flight.release()
            else:
                self._call.add_done_callback(lambda _: flight.release())


class _Responses(_Limited):
    """A call whose responses are iterated over or read."""

    _next: Callable[[], Any] | None = None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        # Not to be kept alive by its own callback: an abandoned call would never be noticed.
        this, kind, call, flight = weakref.ref(self), type(self), self._call, self._flight
        call.add_done_callback(lambda _: callback(this() or kind(call, flight)))

    def __aiter__(self) -> AsyncIterator[Any]:
        self._next = self._call.__aiter__().__anext__
        return self

    def __anext__(self) -> Any:
        if self._next is None:
            self.__aiter__()
        return self._receive(self._next)

    async def read(self) -> Any:
        return await self._receive(self._call.read)

    async def aclose(self) -> None:
        """Cancel the call: nobody reads on. (What ``__aiter__`` of grpcio's call returns has this, too.)"""
        self.cancel()

    async def _receive(self, step: Any) -> Any:
        flight = self._flight
        guard = flight._guard
        if self._ahead is not None:
            step, self._ahead = self._ahead, None
        before = cancel_requests(flight.loop)
        if guard is not None:
            guard.reading_since = monotonic()
            if flight.loop is None:
                flight.awaited()
        try:
            message = await step()
        except asyncio.CancelledError:
            if not self._call.done():  # grpcio forgets to, where the cancel came together with initial metadata
                self._call.cancel()
            flight.release()
            flight.raise_ours(before)
            raise
        except grpc.aio.AioRpcError as error:
            flight.release()
            flight.raise_told(error)
            raise
        except StopAsyncIteration:
            flight.release()
            raise
        finally:
            if guard is not None:
                guard.reading_since = None
        if message is grpc.aio.EOF:
            flight.release()
        return message

    def __del__(self) -> None:
        flight = getattr(self, "_flight", None)
        if flight is not None and flight.call is not None:
            flight.dropped(self._call)


class _Requests(_Limited):
    """A call whose requests may be written one by one."""

    async def write(self, request: Any) -> None:
        guard = self._flight._guard
        if guard is not None:
            guard.writing_since = monotonic()
        try:
            await self._through(self._call.write(request))
        except asyncio.InvalidStateError as error:
            failed = await self._failed_write()
            try:
                if failed is None:
                    raise
                raise failed from error
            finally:
                del failed  # its traceback has this frame, and would be in a cycle with it
        finally:
            if guard is not None:
                guard.writing_since = None

    async def _failed_write(self) -> AioFailedWrite | None:
        """Return what ``write`` raises on a call that has failed; ``None`` when the call goes on, or has ended well."""
        call = self._call
        if not call.done():
            return None
        code = await self.code()
        if code is grpc.StatusCode.OK:
            return None
        if self.timeout is None and not self._flight.cancelled:
            await self._see_error()
        return AioFailedWrite(
            code,
            await call.initial_metadata(),
            await call.trailing_metadata(),
            await self.details(),
            await self.debug_error_string(),
            self.timeout,
        )

    async def _see_error(self) -> None:
        """Have a call that has failed raise its error, for its facts: the call objects of interceptors do not have them."""
        call = self._call
        before = cancel_requests()
        try:
            if hasattr(call, "__await__"):
                await call
            else:
                message = await call.read()
                if message is not grpc.aio.EOF:
                    self._ahead = partial(_again, message)
        except asyncio.CancelledError:  # the call's, or the task's
            if not COUNTS_CANCELS or cancel_requests() != before:
                raise
        except grpc.aio.AioRpcError as error:
            if not hasattr(call, "__await__"):  # these raise it once
                self._ahead = partial(_again, error)
            self._flight.tell(error)
        except Exception:  # it is being iterated over
            pass

    async def done_writing(self) -> None:
        await self._through(self._call.done_writing())


async def _again(outcome: Any) -> Any:
    if isinstance(outcome, grpc.aio.AioRpcError):
        raise outcome
    return outcome


class LimitedUnaryUnaryCall(_Response, AioUnaryUnaryCall):
    """A unary-unary call."""


class SplitUnaryUnaryCall(LimitedUnaryUnaryCall):
    """A unary-unary call that was made as a unary-stream call, so that the server's acceptance is seen before its response."""

    def __init__(self, call: Any, flight: Flight) -> None:
        super().__init__(call, flight)
        self._source = SingleResponse(call)

    async def wait_for_connection(self) -> None:
        await self  # grpcio's unary-unary calls know of no earlier sign


class LimitedUnaryStreamCall(_Responses, AioUnaryStreamCall):
    """A unary-stream call."""


class LimitedStreamUnaryCall(_Response, _Requests, AioStreamUnaryCall):
    """A stream-unary call."""


class LimitedStreamStreamCall(_Responses, _Requests, AioStreamStreamCall):
    """A stream-stream call."""
