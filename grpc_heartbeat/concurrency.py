"""Fan-out inside a request: pieces of work that run side by side, in one scope of their own inside the current one.

The scope costs one object for all pieces. It bounds the calls that they make by the current deadline, without a timer of its
own, and ends them when the request ends. Pieces are independent: the failure of one leaves the others alone, unless
``first_error_cancels`` is set. Then it calls the rest off, with the reason ``"parent"``.

Their public names are in ``grpc_heartbeat.deadline``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from inspect import isawaitable
from queue import SimpleQueue
from time import monotonic
from typing import Any

import grpc

from grpc_heartbeat import _faults
from grpc_heartbeat._current import current_scope, restore
from grpc_heartbeat.core.scope import Reason, Scope
from grpc_heartbeat.executors import run_in

SOURCE = "fan-out"
"""The source of a deadline that nobody has: a fan-out sets none."""


@contextmanager
def _fan_out() -> Iterator[Scope]:
    """Make a scope for a fan-out current, inside the one that is current now."""
    parent = current_scope.get()
    scope = Scope(None, SOURCE) if parent is None or parent.finished else parent.child(None, SOURCE)
    token = current_scope.set(scope)
    try:
        yield scope
    finally:
        restore(token)
        scope.finish()


def _call_off(scope: Scope) -> None:
    """End what the pieces of a fan-out called. They learn that the code around them did it, unless their time is up."""
    expired = scope.deadline is not None and scope.deadline <= monotonic()
    for failure in scope.cancel(Reason.EXPIRED if expired else Reason.PARENT):
        _faults.record("deadline.cancel_member", failure)


async def gather(
    *awaitables: Awaitable[Any], first_error_cancels: bool = False, return_exceptions: bool = False
) -> list[Any]:
    """Run ``awaitables`` side by side and return their results in order, when all of them have ended.

    As with ``asyncio.gather``, coroutines become tasks, and to cancel the waiting cancels all of them. Unlike there, no piece
    is left running when this returns or raises. Calls that coroutines make are bounded by the current deadline and end with
    the request, as all calls in a handler do; here they also end with the fan-out.

    Args:
        awaitables: Coroutines, tasks, futures, or calls in flight. What is given twice is awaited once.
        first_error_cancels: When one fails or is cancelled, cancel the others and the calls that they made. Default: they go
            on.
        return_exceptions: Return errors in place of results. Default: raise the first one that happened, or ``CancelledError``
            if pieces were cancelled and none failed otherwise.

    Raises:
        TypeError: a piece cannot be awaited. Nothing was started.
    """
    _check_awaitable(awaitables)
    with _fan_out() as scope:
        pieces = _Tasks(awaitables, scope, first_error_cancels)
        cancelled: asyncio.CancelledError | None = None
        while pieces.waiting:
            try:
                await pieces.last_ended()
            except asyncio.CancelledError as error:
                cancelled = error
                pieces.call_off()
        try:
            if cancelled is not None:
                raise cancelled
            return _results(pieces.results(), pieces.errors, return_exceptions)
        finally:
            del awaitables, pieces, cancelled  # they know the error, whose traceback has this frame


def _check_awaitable(awaitables: tuple[Awaitable[Any], ...]) -> None:
    for each in awaitables:
        if not isawaitable(each):
            raise TypeError(f"awaitables must be awaitable; got {type(each).__name__} ({each!r})")


class _Tasks:
    """The pieces of an asyncio fan-out."""

    def __init__(self, awaitables: tuple[Awaitable[Any], ...], scope: Scope, first_error_cancels: bool) -> None:
        self.errors: list[BaseException] = []
        self._scope = scope
        self._first_error_cancels = first_error_cancels
        self._called_off = False
        self._end: asyncio.Future[None] | None = None
        futures = {id(each): asyncio.ensure_future(each) for each in awaitables}
        self._futures = [futures[id(each)] for each in awaitables]
        self.waiting = set(self._futures)
        for future in tuple(self.waiting):
            future.add_done_callback(self._ended)

    async def last_ended(self) -> None:
        self._end = asyncio.get_running_loop().create_future()
        await self._end

    def call_off(self) -> None:
        """Cancel what is left, once: to cancel a piece again would break off its clean-up."""
        if self._called_off:
            return
        self._called_off = True
        _call_off(self._scope)
        for future in tuple(self.waiting):
            future.cancel()

    def results(self) -> list[Any]:
        """Return results and errors in the order of the pieces."""
        return [_error(future) or future.result() for future in self._futures]

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self.waiting.discard(future)
        error = _error(future)
        if error is not None:
            self.errors.append(error)
            if self._first_error_cancels:
                self.call_off()
        if not self.waiting and self._end is not None and not self._end.done():
            self._end.set_result(None)


def _error(future: asyncio.Future[Any]) -> BaseException | None:
    if not future.cancelled():
        return future.exception()
    try:
        future.result()
    except asyncio.CancelledError as error:
        return error
    return None


def gather_sync(
    *work: Any, executor: Executor | None = None, first_error_cancels: bool = False, return_exceptions: bool = False
) -> list[Any]:
    """Run ``work`` side by side and return the results in order, when all of it has ended. For synchronous code.

    Args:
        work: Functions without arguments, which run in ``executor`` in a scope inside the current one; or futures of any
            executor; or calls in flight, as ``stub.Method.future(request)`` gives them.
        executor: For functions. It must have enough threads that the pieces do not wait for each other.
        first_error_cancels: When one fails or is cancelled, cancel the others as far as they can be: calls end, functions that
            have not started do not start, and functions that run lose the calls that they made. Default: they go on.
        return_exceptions: Return errors in place of results. Default: raise the first one that happened.

    When the request ends, the same happens.

    Raises:
        TypeError: a piece is neither a function nor a future, or it is a function and there is no executor.
    """
    _check(work, executor)
    with _fan_out() as scope:
        pieces = _Futures(scope)
        try:
            pieces.start_all(work, executor)
            while pieces.waiting:
                if pieces.next_ended() is not None and first_error_cancels:
                    first_error_cancels = False
                    _call_off(scope)
        except BaseException:  # KeyboardInterrupt, or the executor refused a piece
            _call_off(scope)
            raise
        finally:
            scope.release(pieces)
        try:
            return _results(pieces.results, pieces.errors, return_exceptions)
        finally:
            pieces.forget()
            del work, pieces  # they know the error, whose traceback has this frame


def _check(work: tuple[Any, ...], executor: Executor | None) -> None:
    for each in work:
        if not hasattr(each, "add_done_callback"):
            if not callable(each):
                raise TypeError(f"work must be functions and futures, not {type(each).__name__} ({each!r})")
            if executor is None:
                raise TypeError(f"executor= is needed to run the function {each!r}")


class _Futures:
    """The pieces of a synchronous fan-out. A member of its scope: what has not started does not start when it ends."""

    def __init__(self, scope: Scope) -> None:
        self.waiting = 0
        self.results: list[Any] = []
        self.errors: list[BaseException] = []
        self._scope = scope
        self._futures: list[Any] = []
        self._ended: SimpleQueue[int] = SimpleQueue()
        scope.adopt(self)

    def scope_cancelled(self, scope: Scope) -> None:
        for future in tuple(self._futures):
            future.cancel()

    def start_all(self, work: tuple[Any, ...], executor: Executor | None) -> None:
        for each in work:
            self.start(each, executor)

    def start(self, piece: Any, executor: Executor | None) -> None:
        future: Any = piece
        if executor is not None and not hasattr(piece, "add_done_callback"):
            future = executor.submit(run_in, self._scope, piece)
        index = len(self._futures)
        self._futures.append(future)
        self.results.append(None)
        self.waiting += 1
        # Whoever cancels stores the reason before going through the list, so this is looked at after adding to it.
        if self._scope.reason is not None:
            future.cancel()
        future.add_done_callback(lambda _: self._ended.put(index))

    def forget(self) -> None:
        """Let go of what the pieces came to."""
        self._futures, self.results, self.errors = [], [], []

    def next_ended(self) -> BaseException | None:
        """Wait for a piece; return its error."""
        index = self._ended.get()
        self.waiting -= 1
        try:
            self.results[index] = self._futures[index].result()
        except BaseException as error:
            self.results[index] = error
            self.errors.append(error)
            return error
        return None


def _results(results: list[Any], errors: list[BaseException], return_exceptions: bool) -> list[Any]:
    if return_exceptions or not errors:
        return results
    error = _first(errors)
    try:
        raise error
    finally:
        del error, errors, results  # as above


def _first(errors: list[BaseException]) -> BaseException:
    """Return the first of ``errors`` that is not a cancel, if there is one."""
    return next((error for error in errors if not isinstance(error, _CANCELLED)), errors[0])


_CANCELLED = (asyncio.CancelledError, CancelledError, grpc.FutureCancelledError)
